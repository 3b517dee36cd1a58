"""Compare files with a stat snapshot: one stat call each, which is most of the time of a no-op.

Every no-op imports this module, so it imports little.
"""

from __future__ import annotations

import os
import sys
import threading
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 3000
"""The stat calls of so many files take longer than to start a process."""


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
        failed = os.waitpid(child, 0)[1]
    return changed | (_changed(paths, columns, count // 2, count) if failed else set(array("Q", others)))


def _may_fork() -> bool:
    # The child has only one of several threads, and the locks that the others held stay held there. On macOS, system
    # libraries start such threads.
    return sys.platform == "linux" and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


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
