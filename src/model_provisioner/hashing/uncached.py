"""Hash a file past the page cache: what others have there stays, and what the reading brings does not stay.

Where the file system can, bytes come from the disk itself (`O_DIRECT`). Elsewhere they come through the cache, and the pages
that were not in it before are dropped behind the reading, as far as the kernel tells which those are.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING

from model_provisioner.fs.identity import Identity, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from model_provisioner.hashing.streaming import Progress

PIECE = 4 << 20
"""How many bytes are read at once: a multiple of every block."""
_DIRECT = getattr(os, "O_DIRECT", 0)
"""0 where there is no such thing, as on macOS."""
_NOT_DIRECT = {errno.EINVAL, errno.EOPNOTSUPP}
"""What a file system answers that reads through the cache only."""
_MAP_FAILED = ctypes.c_void_p(-1).value


def hash_uncached(opened: Callable[[int], int], progress: Progress = lambda _: None) -> tuple[str, Identity]:
    """Return the SHA-256 of a file's bytes on the disk, in hexadecimal, and what a stat call told of it after that.

    `opened` opens the file with the flags that it is given; the descriptor is closed here. Raises `OSError`, and what
    `progress` raises.
    """
    if _DIRECT:
        try:
            return _hash(opened(os.O_RDONLY | _DIRECT), _read_direct, progress)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
    return _hash(opened(os.O_RDONLY), _read_and_drop, progress)


def _hash(fd: int, read: Callable[[int, memoryview, int], int], progress: Progress) -> tuple[str, Identity]:
    try:
        sha = hashlib.sha256()
        with closing(_pieces(fd, read)) as pieces:  # nothing reads any more when the file is closed
            for piece in pieces:
                sha.update(piece)
                progress(len(piece))
        return sha.hexdigest(), identity(os.fstat(fd))
    finally:
        os.close(fd)


def _pieces(fd: int, read: Callable[[int, memoryview, int], int]) -> Generator[memoryview]:
    """Yield the bytes of a file piece by piece, each good until the next is asked for; the next is read meanwhile.

    Nothing reads ahead of who goes past the cache, so a second thread does.
    """
    size, offset = os.fstat(fd).st_size, 0
    if size <= PIECE:
        # Whole pages, for the disk gives nothing less.
        into = memoryview(mmap.mmap(-1, max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE))
        while offset < size and (count := read(fd, into[offset:], offset)):
            yield into[offset : offset + count]
            offset += count
        return
    buffers = [memoryview(mmap.mmap(-1, PIECE)) for _ in range(2)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, fd, buffers[0], 0)
        while offset < size and (count := coming.result()):
            offset += count
            piece = buffers[0][:count]
            buffers.reverse()
            coming = reader.submit(read, fd, buffers[0], offset)
            yield piece


def _read_direct(fd: int, into: memoryview, offset: int) -> int:
    return os.preadv(fd, [into], offset)


def _read_and_drop(fd: int, into: memoryview, offset: int) -> int:
    """Read, and drop the pages that came into the cache by that; none where the kernel does not say which those are."""
    if not hasattr(os, "posix_fadvise"):
        return os.preadv(fd, [into], offset)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # what is read ahead would look like what was there before
    before = resident(fd, offset, len(into))
    count = os.preadv(fd, [into], offset)
    place = offset
    for was_there, pages in groupby(before or ()):
        length = len(list(pages)) * mmap.PAGESIZE
        if not was_there:
            os.posix_fadvise(fd, place, length, os.POSIX_FADV_DONTNEED)
        place += length
    return count


def resident(fd: int, offset: int, length: int) -> list[bool] | None:
    """Return, page by page, whether a part of an open file is in the page cache; None where that can't be told.

    `offset` lies at the beginning of a page. Of a file that the user neither owns nor may write, Linux says that all is.
    """
    if ctypes.sizeof(ctypes.c_void_p) != 8 or not hasattr(os, "posix_fadvise"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_longlong)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address in (None, _MAP_FAILED):
        return None
    try:
        pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
        if libc.mincore(address, length, pages) != 0:
            return None
        return [bool(page & 1) for page in pages.raw]
    finally:
        libc.munmap(address, length)
