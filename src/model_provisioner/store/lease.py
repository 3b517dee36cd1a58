"""Leases: what the runs that live now use of a store, so that nobody evicts it under them.

A lease is a file of one process, which the kernel keeps locked for as long as that process lives: a killed one leaves a
file that nobody holds. Who notes a use enters the store beside others; who evicts is alone in it, reads the leases first
and the handoffs then. A model that is on its way from the one to the other is in both.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import storage_error
from model_provisioner.store.partial import SETTING, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from model_provisioner.store.store import Store

FOLDER = "leases"
_LINE = re.compile(r"(uses|expects|has) ([0-9a-f]{64})(?: (\d{1,18}))?")


@dataclass
class Leased:
    """What all runs that live now use."""

    blobs: set[str] = field(default_factory=set)
    """By SHA-256."""
    expected: dict[str, int] = field(default_factory=dict)
    """How many bytes are to arrive, by the stem of their partial files."""


class Lease:
    """What this process uses of a store. Threads may share it; the file is made when something is first noted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._path = ""
        self._noted: set[str] = set()

    def use(self, blobs: Iterable[str]) -> bool:
        """Note the use of blobs, by SHA-256; return whether any is new: then look whether they are there afterwards.

        Where the store can't be written nothing is noted: whoever may evict there is not held up by this process.
        """
        new = set(blobs) - self._noted
        if new:
            with contextlib.suppress(StorageError), _entered(self._store, fcntl.LOCK_SH):
                self._write(f"uses {blob}" for blob in sorted(new))
                self._noted |= new
        return bool(new)

    def expect(self, sizes: Mapping[str, int]) -> None:
        """Note how many bytes are to arrive, by key of the fetch. To be called by who is `alone` in the store."""
        self._write(f"expects {stem_of(key)} {size}" for key, size in sizes.items())

    def expect_no_more(self, keys: Iterable[str]) -> None:
        """Note that what was expected is here, or will not come."""
        with self._lock:
            began = self._fd is not None
        if began:
            with contextlib.suppress(StorageError):
                self._write(f"has {stem_of(key)}" for key in keys)

    def close(self) -> None:
        """Use nothing any more."""
        with self._lock:
            if self._fd is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
                os.close(self._fd)
                atexit.unregister(self.close)
                self._fd = None
                self._noted.clear()

    def _write(self, lines: Iterable[str]) -> None:
        with self._lock:
            try:
                if self._fd is None:
                    self._begin()
                assert self._fd is not None
                data = "".join(f"{line}\n" for line in lines).encode()
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError as error:
                raise storage_error("a lease can't be written", self._path, error, elsewhere=SETTING) from None

    def _begin(self) -> None:
        self._path = os.path.join(self._store.folder(FOLDER), secrets.token_hex(16))
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        atexit.register(self.close)


@contextlib.contextmanager
def alone(store: Store) -> Iterator[Leased]:
    """Keep others from noting a use meanwhile; yield what is in use. Raises `StorageError`, also where there are no locks."""
    with _entered(store, fcntl.LOCK_EX):
        yield _living(os.path.join(store.root, FOLDER))


def leased(store: Store) -> Leased:
    """Return what is in use, to be looked at only."""
    return _living(os.path.join(store.root, FOLDER))


@contextlib.contextmanager
def _entered(store: Store, how: int) -> Iterator[None]:
    folder = store.folder(FOLDER)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error("the store can't be locked", folder, error, elsewhere=SETTING) from None
    try:
        try:
            fcntl.flock(fd, how)
        except OSError as error:
            raise storage_error("the store can't be locked", folder, error, elsewhere=SETTING) from None
        yield
    finally:
        os.close(fd)


def _living(folder: str) -> Leased:
    """Return what the leases of living owners say; those of dead ones say nothing."""
    found = Leased()
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            with contextlib.suppress(OSError):
                _read(os.path.join(folder, name), found)
    return found


def _read(path: str, found: Leased) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, encoding="ascii", errors="replace") as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                return
        else:
            return
        expected: dict[str, int] = {}
        for line in file.read().split("\n")[:-1]:  # what follows the last newline is being written
            if (match := _LINE.fullmatch(line)) is None:
                continue
            what, key, size = match.groups()
            if what == "uses":
                found.blobs.add(key)
            elif what == "expects":
                expected[key] = int(size or 0)
            else:
                expected.pop(key, None)
        for key, count in expected.items():
            found.expected[key] = max(count, found.expected.get(key, 0))
