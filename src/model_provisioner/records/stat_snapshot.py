"""Compare a project with its snapshot: one stat call a file, which is most of the time of a no-op.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
import zlib
from array import array
from itertools import pairwise

from model_provisioner.fs.read import read_if_there

TYPE_CHECKING = False  # `typing` would take longer than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"model-provisioner snapshot 4\n"
TEXTS = 8
"""How many texts a snapshot has."""
MANY = 3000
"""The stat calls of so many files take longer than to start a process."""


class Columns:
    """A snapshot as its file has it: see `records/snapshot.py` for what each part means."""

    __slots__ = (
        "catalog",
        "catalog_file",
        "columns",
        "doit",
        "ends",
        "key",
        "left",
        "links",
        "names",
        "paths",
        "retired",
    )

    def __init__(self, left: int, ends: memoryview[int], columns: list[memoryview[int]], texts: list[str]) -> None:
        self.left, self.ends, self.columns = left, ends, columns
        self.key, self.doit, self.catalog, self.catalog_file, *many = texts
        self.links, self.names, self.retired, self.paths = (text.split("\0") if text else [] for text in many)

    def handoff_of(self, name: str) -> str:
        """Return the path of the handoff of an entry that was handed off: its checksum file alone comes behind it."""
        return self.paths[self.ends[self.names.index(name)] - 2]


def columns_of(data: bytes) -> Columns | None:
    """Return the parts of a snapshot; None for other data, or damaged data."""
    view = memoryview(data)  # of three megabytes for ten thousand models, no copies
    place = len(MAGIC) + 4
    if not data.startswith(MAGIC) or zlib.crc32(view[place:]).to_bytes(4, "little") != data[len(MAGIC) : place]:
        return None

    def take(size: int) -> memoryview[int]:
        nonlocal place
        place += size
        return view[place - size : place]

    left, entries, count, *lengths = take(8 * (3 + TEXTS)).cast("Q")
    ends = take(8 * entries).cast("Q")
    columns = [take(8 * count).cast("Q" if column < 3 else "q") for column in range(5)]
    return Columns(left, ends, columns, [str(take(length), "utf-8", "surrogateescape") for length in lengths])


def same_entries(snapshot: Columns) -> list[str] | None:
    """Return the entries whose files are as the snapshot has them; None where the configuration's links lead elsewhere."""
    links = snapshot.links
    if any(os.path.realpath(folder) != real for folder, real in zip(links[::2], links[1::2], strict=True)):
        return None
    changed = changed_files(snapshot.paths, snapshot.columns)
    if not changed:
        return snapshot.names
    ends = pairwise([0, *snapshot.ends])
    return [name for name, part in zip(snapshot.names, ends, strict=True) if changed.isdisjoint(range(*part))]


def changed_files(paths: Sequence[str], columns: Sequence[Sequence[int]]) -> set[int]:
    """Return the indexes of the files whose stat differs from `columns`: device, inode, size, mtime and ctime (both in ns).

    A second process takes half of many files: threads would wait for each other at every call.
    """
    count = len(paths)
    if count < MANY or not _may_fork():
        return _changed(paths, columns, 0, count)
    try:
        reader, writer = os.pipe()
    except OSError:
        return _changed(paths, columns, 0, count)
    try:
        child = os.fork()
    except OSError:  # no more processes are allowed
        os.close(reader)
        os.close(writer)
        return _changed(paths, columns, 0, count)
    if not child:
        failed = 1
        try:
            with open(writer, "wb") as file:
                file.write(array("Q", _changed(paths, columns, count // 2, count)).tobytes())
            failed = 0
        finally:
            os._exit(failed)  # without the parent's handlers, buffers and exit functions
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            changed = _changed(paths, columns, 0, count // 2)
            others = file.read()
    finally:
        failed = _failed(child)
    return changed | (_changed(paths, columns, count // 2, count) if failed else set(array("Q", others)))


def _may_fork() -> bool:
    # The child has only one of several threads, and the locks that the others held stay held there. The kernel knows those
    # too that Python did not start. On macOS, system libraries start such threads.
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return False
    return b"\nThreads:\t1\n" in (read_if_there("/proc/self/status") or b"")


def _failed(child: int) -> bool:
    try:
        return os.waitpid(child, 0)[1] != 0
    except ChildProcessError:  # who started this process lets it ignore the ends of its children: none is told
        return True


def _changed(paths: Sequence[str], columns: Sequence[Sequence[int]], begin: int, end: int) -> set[int]:
    changed = set()
    stat = os.stat  # thirty thousand calls for ten thousand models: each attribute lookup counts
    some = zip(range(begin, end), paths[begin:end], *(column[begin:end] for column in columns), strict=True)
    for number, path, device, inode, size, mtime, ctime in some:
        try:
            now = stat(path)
        except OSError:
            changed.add(number)
            continue
        if (
            now.st_mtime_ns != mtime
            or now.st_ctime_ns != ctime
            or now.st_ino != inode
            or now.st_size != size
            or now.st_dev != device
        ):
            changed.add(number)
    return changed
