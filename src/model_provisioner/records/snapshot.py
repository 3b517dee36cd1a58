"""The snapshot: the stat of every file of a project when its models were current, so that the next run only compares.

It holds nothing that the other records don't, and may be deleted at any time. Its format is described in
`docs/reference/state-folder.md`; what compares it is `records/stat_snapshot.py`.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from model_provisioner.records.stat_snapshot import MAGIC, columns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FileStat = tuple[str, int, int, int, int, int]
"""A path, and its device, inode, size, mtime and ctime (both in nanoseconds)."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What must be the same for there to be nothing to do."""

    key: str
    """Identifies everything else that decides what is to be done."""
    doit: str
    """Identifies doit's own state."""
    catalog: str
    """The change number of the project's rows in the catalog."""
    catalog_file: str
    """Identifies the catalog's file, at rest; empty where it was not."""
    links: Sequence[tuple[str, str]]
    """Folders that the configuration names, and their real paths."""
    names: Sequence[str]
    """The entries that were current."""
    files: Sequence[Sequence[FileStat]]
    """Of each of `names`: its files, folders and artifacts."""
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
            [snapshot.catalog],
            [snapshot.catalog_file],
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
    found = columns_of(data)
    if found is None:
        return None
    seen = list(zip(found.paths, *found.columns, strict=True))
    return Snapshot(
        key=found.key,
        doit=found.doit,
        catalog=found.catalog,
        catalog_file=found.catalog_file,
        links=list(zip(found.links[::2], found.links[1::2], strict=True)),
        names=found.names,
        files=[seen[begin:end] for begin, end in pairwise([0, *found.ends])],
        retired=found.retired,
        left=found.left,
    )
