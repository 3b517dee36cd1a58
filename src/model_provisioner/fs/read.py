"""Bounded reads: regular files only, opened without waiting for what is not one (a FIFO, a terminal), up to a limit.

This module is on the way of every no-op: it imports little.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 16 << 20
"""In bytes: more than any small file of ours holds, and any configuration."""
JSON_LIMIT = 32 << 20
"""In bytes: no JSON that is read has more. One character beyond the first 65,536 makes a text take four bytes for each."""

_FICLONE = 0x40049409


class NotAFileError(OSError):
    """A folder, a FIFO or a device where a regular file belongs."""


class NotOursError(OSError):
    """What stands where a file or folder of ours belongs, and is none: `filename` says where, `strerror` what it is."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(errno.EPERM, found, path)


class TooLargeError(OSError):
    """A file of more bytes than may be read."""

    def __init__(self, size: int) -> None:
        super().__init__(errno.EFBIG, f"{size:,} bytes")
        self.size = size


def open_regular(path: str, flags: int = os.O_RDONLY, *, folder: int | None = None) -> int:
    """Open a regular file; `path` may be relative to the descriptor `folder`. Raises `NotAFileError` and `OSError`."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAFileError(errno.EINVAL, "not a regular file")
    return fd


def read_descriptor(fd: int, limit: int) -> bytes:
    """Return the bytes of an open file from its start. Raises `TooLargeError` and `OSError`."""
    if (size := os.fstat(fd).st_size) > limit:
        raise TooLargeError(size)
    # A buffer of the limit would cost more than the reading. What the kernel makes up, in /proc, has no size.
    return os.pread(fd, (size or 4096) + 1, 0)


def read_file(path: str, limit: int = LIMIT, *, flags: int = os.O_RDONLY, folder: int | None = None) -> bytes:
    """Return the bytes of a regular file. Raises `NotAFileError`, `TooLargeError` and `OSError`."""
    fd = open_regular(path, flags, folder=folder)
    try:
        return read_descriptor(fd, limit)
    finally:
        os.close(fd)


def read_beginning(path: str, limit: int) -> bytes:
    """Return the first bytes of a regular file, `limit` of them at most. Raises `NotAFileError` and `OSError`."""
    fd = open_regular(path)
    try:
        return os.pread(fd, min(limit, os.fstat(fd).st_size), 0)
    finally:
        os.close(fd)


def read_if_there(path: str, limit: int = LIMIT) -> bytes | None:
    """Return the bytes of a file of ours, None where there is none, or what is there can't be one."""
    try:
        return read_file(path, limit)
    except OSError:
        return None


class Piece(io.BufferedReader):
    """The bytes of a regular file from a place on, as many as there must be: what is sent. `tell` is given each count.

    Raises `OSError` when it is made. From then on it is `EOFError`, where the file has become shorter or the disk fails: who
    sends what is read would take an `OSError` for one of the connection.
    """

    def __init__(self, path: str, start: int, size: int, tell: Callable[[int], object] = lambda _: None) -> None:
        super().__init__(io.FileIO(open_regular(path)), 1 << 20)
        self.seek(start)
        self._left, self._told = size, tell

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most so many of the bytes that are left; none at their end."""
        count = self._left if size is None or size < 0 else min(size, self._left)
        try:
            data = super().read(count)
        except OSError as error:
            raise EOFError(error.strerror) from None
        if len(data) < count:
            raise EOFError("the file became shorter while it was read")
        self._left -= len(data)
        self._told(len(data))
        return data


def clone(source: int, target: int) -> bool:
    """Let an open file share the bytes of another on the disk; return False where the file system can't."""
    if sys.platform != "linux":  # Python offers no clonefile
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
