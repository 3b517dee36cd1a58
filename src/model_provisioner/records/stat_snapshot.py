"""How files look, compared with how they looked: one stat call each, which is most of what a run with nothing to do takes.

This module is on the way of every no-op: it imports little.
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
"""To look at so many files takes longer than to start a process."""


def moved_among(paths: Sequence[str], columns: Sequence[Sequence[int]]) -> set[int]:
    """Return the numbers of the files that do not look as `columns` say: device, inode, size, mtime and ctime (both in ns).

    Of many files a second process takes half: threads would wait for each other at every call.
    """
    count = len(paths)
    if count < MANY or not _may_fork():
        return _moved(paths, columns, 0, count)
    try:
        reader, writer = os.pipe()
    except OSError:
        return _moved(paths, columns, 0, count)
    try:
        child = os.fork()
    except OSError:  # there may be no more processes
        os.close(reader)
        os.close(writer)
        return _moved(paths, columns, 0, count)
    if not child:
        failed = 1
        try:
            with open(writer, "wb") as file:
                file.write(array("Q", _moved(paths, columns, count // 2, count)).tobytes())
            failed = 0
        finally:
            os._exit(failed)  # without the parent's handlers, buffers and exit functions
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            moved = _moved(paths, columns, 0, count // 2)
            others = file.read()
    finally:
        failed = os.waitpid(child, 0)[1]
    return moved | (_moved(paths, columns, count // 2, count) if failed else set(array("Q", others)))


def _may_fork() -> bool:
    # Of several threads only one would be in the child, and locks that others held would stay held there; on macOS its
    # own libraries have such threads.
    return sys.platform == "linux" and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


def _moved(paths: Sequence[str], columns: Sequence[Sequence[int]], begin: int, end: int) -> set[int]:
    moved = set()
    stat = os.stat  # thirty thousand calls for ten thousand models: every attribute counts
    some = zip(range(begin, end), paths[begin:end], *(column[begin:end] for column in columns), strict=True)
    for number, path, device, inode, size, mtime, ctime in some:
        try:
            now = stat(path)
        except OSError:
            moved.add(number)
            continue
        if (
            now.st_mtime_ns != mtime
            or now.st_ctime_ns != ctime
            or now.st_ino != inode
            or now.st_size != size
            or now.st_dev != device
        ):
            moved.add(number)
    return moved
