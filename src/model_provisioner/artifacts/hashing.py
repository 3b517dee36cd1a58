"""Bytes to digests: SHA-256 and the fingerprint in one pass, or the fingerprint alone.

The fingerprint of a file is the xxh3-128 of the xxh3-128 digests of its segments of 64 MiB and of its size. It tells
accident from change, not forgery. Fixed segments let several cores work on one file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from model_provisioner.errors import UnreadableModelError

if TYPE_CHECKING:
    from collections.abc import Callable

SEGMENT = 64 << 20
BUFFER = 1 << 20


class Identity(NamedTuple):
    """What a stat call tells of a file: equal identities at rest mean the same bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity(status: os.stat_result) -> Identity:
    """Return the identity in a stat result."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class Hashes:
    """The two digests of one file, in hexadecimal."""

    sha256: str
    fingerprint: str


def open_model(path: str) -> int:
    """Open a regular file for reading, never waiting for what is not one (a FIFO, a terminal)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnreadableModelError("not a regular file", where=path, fix="name a file that holds a model")
    return fd


def unreadable(path: str, error: OSError) -> UnreadableModelError:
    """Word an operating system's refusal to read a model."""
    return UnreadableModelError(
        "the file can't be read",
        where=path,
        found=error.strerror or str(error),
        fix="check that it is still there, that you may read it, and that its disk is sound",
    )


def hash_both(fd: int, progress: Callable[[int], object]) -> Hashes:
    """Read the file from its start to its end once and return both digests."""
    sha = hashlib.sha256()
    marks = _Fingerprint()
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    offset = 0
    while count := os.preadv(fd, [view], offset):
        chunk = view[:count]
        sha.update(chunk)
        marks.update(chunk)
        offset += count
        progress(count)
    return Hashes(sha.hexdigest(), marks.hexdigest())


def fingerprint(fd: int, progress: Callable[[int], object]) -> str:
    """Read the file once and return its fingerprint alone."""
    marks = _Fingerprint()
    view = memoryview(bytearray(BUFFER))
    offset = 0
    while count := os.preadv(fd, [view], offset):
        marks.update(view[:count])
        offset += count
        progress(count)
    return marks.hexdigest()


class _Fingerprint:
    """The fingerprint of bytes that come in order. Chunks never cross a segment's end when they are whole buffers."""

    def __init__(self) -> None:
        self._total = xxhash.xxh3_128()
        self._segment = xxhash.xxh3_128()
        self._size = 0

    def update(self, chunk: memoryview) -> None:
        while chunk:
            room = SEGMENT - self._size % SEGMENT
            self._segment.update(chunk[:room])
            self._size += min(room, len(chunk))
            chunk = chunk[room:]
            if self._size % SEGMENT == 0:
                self._total.update(self._segment.digest())
                self._segment.reset()

    def hexdigest(self) -> str:
        if self._size % SEGMENT:
            self._total.update(self._segment.digest())
        self._total.update(self._size.to_bytes(8, "little"))
        return self._total.hexdigest()
