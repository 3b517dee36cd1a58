"""Hash an open file: SHA-256 and the fingerprint in one pass, or the fingerprint alone."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from model_provisioner.errors import UnreadableModelError
from model_provisioner.fs.read import NotAFileError, open_regular
from model_provisioner.hashing.fingerprint import SEGMENT, Fingerprint
from model_provisioner.hashing.threads import core_taken, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.hashing.fingerprint import FingerprintKey

BUFFER = 1 << 20
PIPELINE_BUFFER = 4 << 20
PIPELINE_BUFFERS = 4

Progress: TypeAlias = "Callable[[int], object]"
"""Takes the number of bytes that were read since the last call; an error that it raises ends the reading."""


@dataclass(frozen=True)
class Hashes:
    """The two digests of one file."""

    sha256: str
    """In hexadecimal."""
    fingerprint: str | None
    """None where nobody asked for it."""


def open_model(path: str) -> int:
    """Open a regular file for reading. Raises `UnreadableModelError`, and never waits for a FIFO or a terminal."""
    try:
        return open_regular(path)
    except NotAFileError as error:
        raise UnreadableModelError(
            str(error.strerror),
            where=path,
            expected="a regular file",
            found="something else",
            fix="name a file that holds a model",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: str, error: OSError) -> UnreadableModelError:
    """Return the error for a model that the operating system does not let us read."""
    return UnreadableModelError(
        "the file can't be read",
        where=path,
        expected="a file that you may read, on a disk that is there",
        found=error.strerror or str(error),
        fix="check that it is still there, that you may read it, and that its disk is sound",
    )


def hash_both(fd: int, key: FingerprintKey, progress: Progress) -> Hashes:
    """Read the file once and return both digests.

    While a core is left, one thread reads and takes the fingerprint, and another takes SHA-256, which is slower.
    """
    if (size := os.fstat(fd).st_size) <= BUFFER:
        data = _read_small(fd, size)
        progress(len(data))
        xxh3 = Fingerprint(key)
        xxh3.update(memoryview(data))
        return Hashes(hashlib.sha256(data).hexdigest(), xxh3.text())
    with core_taken() as spare:
        return _hash_in_two_threads(fd, key, progress) if spare else _hash_in_turn(fd, key, progress)


def _read_small(fd: int, size: int) -> bytes:
    """Read a file of about `size` bytes to its end. A buffer of a fixed size would cost more than the reading."""
    data = os.pread(fd, size + 1, 0)
    while part := os.pread(fd, size + 1, len(data)):
        data += part
    return data


def _hash_in_turn(fd: int, key: FingerprintKey, progress: Progress) -> Hashes:
    sha, xxh3 = hashlib.sha256(), Fingerprint(key)

    def update(chunk: memoryview) -> None:
        sha.update(chunk)
        xxh3.update(chunk)

    _read_segment(fd, 0, None, update, progress)
    return Hashes(sha.hexdigest(), xxh3.text())


def _hash_in_two_threads(fd: int, key: FingerprintKey, progress: Progress) -> Hashes:
    sha, xxh3 = hashlib.sha256(), Fingerprint(key)
    empty: SimpleQueue[memoryview | None] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int] | BaseException] = SimpleQueue()
    for _ in range(PIPELINE_BUFFERS):
        empty.put(memoryview(bytearray(PIPELINE_BUFFER)))

    def read() -> None:
        offset = 0
        try:
            while (view := empty.get()) is not None:
                count = os.preadv(fd, [view], offset)
                xxh3.update(view[:count])
                full.put((view, count))
                if not count:
                    return
                offset += count
        except BaseException as error:  # noqa: BLE001  raised again in the calling thread
            full.put(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while not isinstance(found := full.get(), BaseException):
            view, count = found
            if not count:
                return Hashes(sha.hexdigest(), xxh3.text())
            sha.update(view[:count])
            empty.put(view)
            progress(count)
        raise found
    finally:
        empty.put(None)  # the reader must be gone before the file is closed under it
        reader.join()


def fingerprint(fd: int, key: FingerprintKey, progress: Progress) -> str:
    """Read the file once and return its fingerprint alone, in as many threads as cores are left."""
    xxh3 = Fingerprint(key)
    if (size := os.fstat(fd).st_size) <= BUFFER:
        data = _read_small(fd, size)
        progress(len(data))
        xxh3.update(memoryview(data))
        return xxh3.text()
    segments = -(-size // SEGMENT)
    with core_taken() as spare:
        if spare and segments > 1:
            return _fingerprint_in_threads(fd, key, segments, min(spare + 1, segments), progress)
        _read_segment(fd, 0, None, xxh3.update, progress)
        return xxh3.text()


def _fingerprint_in_threads(fd: int, key: FingerprintKey, segments: int, workers: int, progress: Progress) -> str:
    parts = [Fingerprint(key) for _ in range(segments)]

    def read(number: int, check: Callable[[], None]) -> None:
        def checked(count: int) -> None:
            check()
            progress(count)

        _read_segment(fd, number * SEGMENT, SEGMENT, parts[number].update, checked)

    for _ in in_threads(read, range(segments), workers):
        pass
    whole = Fingerprint(key)
    for part in parts:
        whole.extend(part)
    return whole.text()


def _read_segment(
    fd: int, offset: int, limit: int | None, update: Callable[[memoryview], None], progress: Progress
) -> None:
    """Pass on the bytes from `offset` to the end of the file, at most `limit` of them."""
    view = memoryview(bytearray(BUFFER))
    left = limit
    while left is None or left:
        count = os.preadv(fd, [view if left is None else view[:left]], offset)
        if not count:
            return
        update(view[:count])
        offset += count
        left = None if left is None else left - count
        progress(count)
