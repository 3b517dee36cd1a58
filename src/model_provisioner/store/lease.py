"""Leases: what living runs use of a store, so that no other run evicts it meanwhile.

A lease is a file of one process, which the kernel keeps locked for as long as that process lives, and which it renews:
a killed one leaves a file that nobody holds. A run that notes a use shares the lock of the folder; one that evicts holds
it alone, reads the leases first and the handoffs then. A model that moves from a lease to a handoff meanwhile is in both.
Runs of other hosts, whom that lock may not reach, look for a model after they noted its use; so who evicts takes it away
first, and reads the leases once more.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.folder import write_all
from model_provisioner.fs.locking.locks import lock, locked_folder
from model_provisioner.fs.locking.reach import LOCAL
from model_provisioner.fs.locking.renewal import RENEWAL
from model_provisioner.fs.read import read_descriptor
from model_provisioner.references.digest import SHA256_HEX
from model_provisioner.store.layout import stem_of, store_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from model_provisioner.fs.folder import Folder
    from model_provisioner.store.layout import Layout
    from model_provisioner.store.owners import Witness

FOLDER = "leases"
LIMIT = 1 << 30
"""How many bytes of a lease are read: the uses of some ten million blobs."""
_LINE = re.compile(rf"(uses|expects|has) ({SHA256_HEX.pattern})(?: (\d{{1,18}}))?")


@dataclass
class Leased:
    """What all runs that live now use."""

    blobs: set[str] = field(default_factory=set)
    """By SHA-256."""
    elsewhere: set[str] = field(default_factory=set)
    """Those that runs use of whom only renewals tell that they live: of other hosts, most of them."""
    expected: dict[str, int] = field(default_factory=dict)
    """How many bytes are to arrive, by the stem of their partial files."""


class Lease:
    """What this process uses of a store. Threads may share it; the file is made when something is first noted."""

    def __init__(self, store: Layout) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._name = ""
        self._noted: set[str] = set()

    def use(self, blobs: Iterable[str]) -> bool:
        """Note the use of blobs, by SHA-256; return whether any is new: then look whether they are there afterwards.

        Where the store can't be written nothing is noted: whoever may evict there is not held up by this process.
        """
        new = set(blobs) - self._noted
        if new:
            with contextlib.suppress(StorageError), _entered(self._store, shared=True):
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
        """End all uses."""
        with self._lock:
            if self._fd is not None:
                with contextlib.suppress(OSError):
                    self._store.held(FOLDER).unlink(self._name)
                RENEWAL.end(self._fd)
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
                write_all(self._fd, "".join(f"{line}\n" for line in lines).encode())
                if self._store.reach != LOCAL:  # another host sees what the server has
                    os.fsync(self._fd)
            except OSError as error:
                path = os.path.join(self._store.root, FOLDER, self._name)
                raise store_error("a lease can't be written", path, error) from None

    def _begin(self) -> None:
        folder = self._store.folder(FOLDER)
        self._name = f"{self._store.reach}.{secrets.token_hex(16)}"
        fd = folder.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            lock(fd, folder.path_of(self._name))
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        RENEWAL.begin(fd)
        atexit.register(self.close)


@contextlib.contextmanager
def alone(store: Layout, witness: Witness) -> Iterator[Leased]:
    """Keep others from noting a use meanwhile; yield what is in use. Raises `StorageError`, also where there are no locks."""
    with _entered(store, shared=False):
        yield leased(store, witness)


def leased(store: Layout, witness: Witness) -> Leased:
    """Return what the leases of owners say that live, or may live; those of dead ones say nothing.

    Raises `StorageError` where one is there and can't be read: it may be anybody's.
    """
    found, path = Leased(), os.path.join(store.root, FOLDER)
    try:
        folder = store.held(FOLDER)
        for name in folder.names():
            path = folder.path_of(name)
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                if stat.S_ISREG(folder.stat(name).st_mode):
                    _read(folder, name, found, witness)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise store_error("a lease can't be read, so nothing may be evicted", path, error) from None
    return found


@contextlib.contextmanager
def _entered(store: Layout, *, shared: bool) -> Iterator[None]:
    folder = store.folder(FOLDER)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(folder, shared=shared))
        except OSError as error:
            raise store_error("the store can't be locked", folder.path, error) from None
        yield


def _read(folder: Folder, name: str, found: Leased, witness: Witness) -> None:
    fd = folder.open(name)
    try:
        if not witness.lives(name, fd):
            return
        lines = read_descriptor(fd, LIMIT).decode("ascii", "replace").split("\n")[:-1]  # the last one is being written
    finally:
        os.close(fd)
    used = found.blobs if witness.is_here(name) else found.elsewhere
    expected: dict[str, int] = {}
    for line in lines:
        if (match := _LINE.fullmatch(line)) is None:
            continue
        what, key, size = match.groups()
        if what == "uses":
            used.add(key)
        elif what == "expects":
            expected[key] = int(size or 0)
        else:
            expected.pop(key, None)
    for key, count in expected.items():
        found.expected[key] = max(count, found.expected.get(key, 0))
