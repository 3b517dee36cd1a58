"""The snapshot: the stat of every file of a project when its models were current, so that the next run only compares.

It holds nothing that the other records don't, and may be deleted at any time. Its format is described in
`docs/reference/state-folder.md`. Every no-op imports this module, so it imports little.
"""

from __future__ import annotations

import os
import zlib
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from model_provisioner.records.stat_snapshot import changed_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Parts = tuple[int, str, str, list[str], list[str], list[str], list[str], memoryview[int], list[memoryview[int]]]

MAGIC = b"model-provisioner snapshot 3\n"

FileStat = tuple[str, int, int, int, int, int]
"""A path, and its device, inode, size, mtime and ctime (both in nanoseconds)."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What must be the same for there to be nothing to do."""

    key: str
    """Identifies everything else that decides what is to be done."""
    links: Sequence[tuple[str, str]]
    """Folders that the configuration names, and their real paths."""
    names: Sequence[str]
    """The entries that were current."""
    files: Sequence[Sequence[FileStat]]
    """Of each of `names`: its files, folders and artifacts."""
    doit: str
    """Identifies doit's own state."""
    retired: Sequence[str]
    """Those of `names` that were retired."""
    left: int
    """How many other entries there are, which were not current or not known to be."""


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
    """Return the snapshot that `render` wrote; None for other data, or damaged data."""
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
    """Return the unchanged entries, the number of all others, doit's state, and the retired entries.

    Each file takes one stat call. Return None for a snapshot with another `key`, or a damaged one.
    """
    found = _parts(data)
    if found is None:
        return None
    left, stored, doit, links, names, retired, paths, ends, columns = found
    if stored != key or any(
        os.path.realpath(folder) != real for folder, real in zip(links[::2], links[1::2], strict=True)
    ):
        return None
    changed = changed_files(paths, columns)
    same = (
        [name for name, ends in zip(names, pairwise([0, *ends]), strict=True) if changed.isdisjoint(range(*ends))]
        if changed
        else names
    )
    return same, left + len(names) - len(same), doit, retired


def _parts(data: bytes) -> _Parts | None:
    """Return left, key, doit, links (flat), names, retired, paths, the end of each entry's files, and the columns of stats."""
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
