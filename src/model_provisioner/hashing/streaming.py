"""Hash an open file: SHA-256 and the fingerprint in one pass, or the fingerprint alone."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from model_provisioner.errors import UnreadableModelError
from model_provisioner.fs.read import NotAFileError, open_regular
from model_provisioner.hashing.fingerprint import SEGMENT, Fingerprint
from model_provisioner.hashing.threads import CORES, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.hashing.fingerprint import FingerprintKey

BUFFER = 1 << 20
AHEAD, AHEADS = 256 << 10, 4
"""The size of the buffers of a thread that reads for another, and how many it may fill before the one that hashes takes them.
They stay in a core's cache on their way: with four of 1 MiB it took a fifth longer where a core has 2 MiB of it."""

TELL_SECONDS = 0.05
"""How long bytes that were read may wait to be told of: many threads that told of each buffer would wait for each other."""

Progress: TypeAlias = "Callable[[int], object]"
"""Takes the number of bytes that were read since the last call; an error that it raises ends the reading."""


class _Teller:
    """Tells `progress` of what was read, at first, then now and then."""

    __slots__ = ("_count", "_due", "_progress")

    def __init__(self, progress: Progress) -> None:
        self._progress, self._count, self._due = progress, 0, 0.0

    def add(self, count: int) -> None:
        """Note that so many more bytes were read."""
        self._count += count
        if time.monotonic() >= self._due:
            self.tell()

    def tell(self) -> None:
        """Tell of what was not told of yet."""
        count, self._count = self._count, 0
        self._due = time.monotonic() + TELL_SECONDS
        if count:
            self._progress(count)


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
    hashing = _Both(fd, key, progress)
    with CORES.taken():
        while not hashing.ended:
            with CORES.lent(1) as helpers:
                if helpers:
                    hashing.with_a_reader()
                else:
                    hashing.alone()
    hashing.told.tell()
    return hashing.hashes()


def _read_small(fd: int, size: int) -> bytes:
    """Read a file of about `size` bytes to its end. A buffer of a fixed size would cost more than the reading."""
    data = os.pread(fd, size + 1, 0)
    while part := os.pread(fd, size + 1, len(data)):
        data += part
    return data


class _Both:
    """Takes both digests of an open file, in one thread or two, and goes on in the other way where it is told to."""

    def __init__(self, fd: int, key: FingerprintKey, progress: Progress) -> None:
        self._file, self.told = _Stretch(fd), _Teller(progress)
        self._sha, self._xxh3 = hashlib.sha256(), Fingerprint(key)
        self.ended = False
        """Whether all bytes were read."""

    def hashes(self) -> Hashes:
        return Hashes(self._sha.hexdigest(), self._xxh3.text())

    def alone(self) -> None:
        """Read and hash to the end, or until a core is left for a thread that reads."""
        view = memoryview(bytearray(BUFFER))
        while chunk := self._read(view):
            self._sha.update(chunk)
            self.told.add(len(chunk))
            if CORES.left > 0:
                return

    def with_a_reader(self) -> None:
        """Hash what another thread reads, to the end or until its core is wanted."""
        empty: SimpleQueue[memoryview | None] = SimpleQueue()
        full: SimpleQueue[tuple[memoryview, memoryview] | BaseException | None] = SimpleQueue()
        for _ in range(AHEADS):
            empty.put(memoryview(bytearray(AHEAD)))

        def read() -> None:
            try:
                while (view := empty.get()) is not None and (chunk := self._read(view)):
                    full.put((view, chunk))
            except BaseException as error:  # noqa: BLE001  raised again in the calling thread
                full.put(error)
            else:
                full.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while (found := full.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                view, chunk = found
                self._sha.update(chunk)
                empty.put(None if CORES.left < 0 else view)
                self.told.add(len(chunk))
        finally:
            empty.put(None)  # the reader must be gone before the file is closed under it
            reader.join()

    def _read(self, view: memoryview) -> memoryview:
        chunk = self._file.read(view)
        self._xxh3.update(chunk)
        self.ended = not chunk
        return chunk


def fingerprint(fd: int, key: FingerprintKey, progress: Progress) -> str:
    """Read the file once and return its fingerprint alone, in as many threads as cores are left."""
    xxh3 = Fingerprint(key)
    if (size := os.fstat(fd).st_size) <= BUFFER:
        data = _read_small(fd, size)
        progress(len(data))
        xxh3.update(memoryview(data))
        return xxh3.text()
    segments = -(-size // SEGMENT)
    with CORES.taken(), CORES.lent(segments - 1) as helpers:
        if helpers:
            return _fingerprint_in_threads(fd, key, segments, helpers + 1, progress)
        _read(_Stretch(fd), xxh3.update, progress)
        return xxh3.text()


def _fingerprint_in_threads(fd: int, key: FingerprintKey, segments: int, workers: int, progress: Progress) -> str:
    parts = [Fingerprint(key) for _ in range(segments)]

    def read(number: int, check: Callable[[], None]) -> None:
        def checked(count: int) -> None:
            check()
            progress(count)

        _read(_Stretch(fd, number * SEGMENT, SEGMENT), parts[number].update, checked)

    for _ in in_threads(read, range(segments), workers):
        pass
    whole = Fingerprint(key)
    for part in parts:
        whole.extend(part)
    return whole.text()


class _Stretch:
    """The bytes of an open file from `offset` to its end, or `size` of them, in order."""

    def __init__(self, fd: int, offset: int = 0, size: int | None = None) -> None:
        self._fd, self._offset, self._left = fd, offset, size

    def read(self, view: memoryview) -> memoryview:
        """Read the next bytes into `view`; return those that were read, none at the end."""
        count = os.preadv(self._fd, [view if self._left is None else view[: self._left]], self._offset)
        self._offset += count
        if self._left is not None:
            self._left -= count
        return view[:count]


def _read(stretch: _Stretch, update: Callable[[memoryview], None], progress: Progress) -> None:
    """Pass on all bytes of a stretch."""
    view, told = memoryview(bytearray(BUFFER)), _Teller(progress)
    while chunk := stretch.read(view):
        update(chunk)
        told.add(len(chunk))
    told.tell()
