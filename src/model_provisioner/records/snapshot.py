"""The snapshot: how all files of a project looked when its models were current, so that the next run only compares.

It claims nothing that the other records don't: it may be deleted at any time. Its format is described in
`docs/reference/state-folder.md`. This module is on the way of every no-op: it imports little.
"""

from __future__ import annotations

import os
import zlib
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from model_provisioner.records.stat_snapshot import moved_among

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Parts = tuple[int, str, str, list[str], list[str], list[str], list[str], memoryview[int], list[memoryview[int]]]

MAGIC = b"model-provisioner snapshot 2\n"

Seen = tuple[str, int, int, int, int, int]
"""A path, and its device, inode, size, mtime and ctime (both in nanoseconds)."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What must be equal for nothing to be left to do."""

    key: str
    """Stands for all that decides what is to be done but the files below."""
    links: Sequence[tuple[str, str]]
    """Folders that the configuration names, and where links lead from there."""
    names: Sequence[str]
    """The entries that were current."""
    files: Sequence[Sequence[Seen]]
    """The files and folders of each of them, and its artifacts."""
    doit: str
    """Stands for doit's own state."""
    retired: Sequence[str]
    """Those of `names` that were retired: nothing is to be done for them."""
    left: int
    """How many entries were not current, or could not be told to be: nothing is known of them."""


def render(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot."""
    flat = [seen for files in snapshot.files for seen in files]
    ends, end = array("Q"), 0
    for files in snapshot.files:
        end += len(files)
        ends.append(end)
    numbers = [seen[1:] for seen in flat]
    columns = [array("Q" if column < 3 else "q", [each[column] for each in numbers]) for column in range(5)]
    texts = [
        "\0".join(part).encode("utf-8", "surrogateescape")
        for part in (
            [snapshot.key],
            [snapshot.doit],
            [end for link in snapshot.links for end in link],
            snapshot.names,
            snapshot.retired,
            [s[0] for s in flat],
        )
    ]
    sizes = array("Q", [snapshot.left, len(snapshot.names), len(flat), *map(len, texts)])
    body = b"".join([sizes.tobytes(), ends.tobytes(), *(column.tobytes() for column in columns), *texts])
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def parse(data: bytes) -> Snapshot | None:
    """Return the snapshot that `render` wrote; None where it is another file, or a damaged one."""
    found = _parts(data)
    if found is None:
        return None
    left, key, doit, links, names, retired, paths, ends, columns = found
    seen = list(zip(paths, *columns, strict=True))
    files = [seen[begin:end] for begin, end in pairwise([0, *ends])]
    return Snapshot(
        key=key,
        links=list(zip(links[::2], links[1::2], strict=True)),
        names=names,
        files=files,
        doit=doit,
        retired=retired,
        left=left,
    )


def compare(data: bytes, key: str) -> tuple[list[str], int, str, list[str]] | None:
    """Return the entries that are as they were, how many are not or are not known, doit's state, and which were retired.

    None stands for no answer.

    Every file is looked at by one stat call. A snapshot of another key, or a damaged one, says nothing.
    """
    found = _parts(data)
    if found is None:
        return None
    left, stored, doit, links, names, retired, paths, ends, columns = found
    if stored != key or any(
        os.path.realpath(folder) != real for folder, real in zip(links[::2], links[1::2], strict=True)
    ):
        return None
    moved = moved_among(paths, columns)
    same = (
        [name for name, ends in zip(names, pairwise([0, *ends]), strict=True) if moved.isdisjoint(range(*ends))]
        if moved
        else names
    )
    return same, left + len(names) - len(same), doit, retired


def _parts(data: bytes) -> _Parts | None:
    """Return the number left, key, doit's state, ends of links, names, retired, paths, ends and columns, as they are stored."""
    view = memoryview(data)  # of three megabytes for ten thousand models, no copies
    place = len(MAGIC) + 4
    if not data.startswith(MAGIC) or zlib.crc32(view[place:]).to_bytes(4, "little") != data[len(MAGIC) : place]:
        return None

    def take(size: int) -> memoryview[int]:
        nonlocal place
        place += size
        return view[place - size : place]

    left, entries, count, *lengths = take(72).cast("Q")
    ends = take(8 * entries).cast("Q")
    columns = [take(8 * count).cast("Q" if column < 3 else "q") for column in range(5)]
    key, doit, *texts = (str(take(length), "utf-8", "surrogateescape") for length in lengths)
    links, names, retired, paths = (text.split("\0") if text else [] for text in texts)
    return left, key, doit, links, names, retired, paths, ends, columns
