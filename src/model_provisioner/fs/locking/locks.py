"""Locks between threads and processes, kept by the kernel: the owner's death frees them, none goes stale."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.locking.waits import telling
from model_provisioner.fs.root import Root
from model_provisioner.fs.unreachable import STATE_SETTING, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.fs.folder import Folder

POLL_S = 0.1
"""Seconds between two tries of who has something to do while it waits."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class NoLocksError(OSError):
    """The file system keeps no locks."""


def lock(fd: int, path: str, *, shared: bool = False, waiting: Callable[[], object] | None = None) -> None:
    """Wait for the lock of an open file, which its closing frees; call `waiting` now and then, which may raise to give up.

    Without `waiting`, a wait that takes long is told by its `path` (see `waits`). Raises `NoLocksError` and `OSError`.
    """
    while not try_lock(fd, shared=shared):
        if waiting is None:
            with telling(fd, path):
                _flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            return
        waiting()
        time.sleep(POLL_S)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file; return False where another owner has it. Raises `NoLocksError` and `OSError`."""
    try:
        _flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def open_locked(
    folder: Folder,
    name: str,
    flags: int,
    *,
    shared: bool = False,
    waiting: Callable[[], object] | None = None,
    put_away: Callable[[Folder, str], None] | None = None,
) -> int:
    """Open a file and wait for its lock as `lock` does; return its descriptor.

    A file that lost its name while it was waited for is no longer the one that is meant: then the next is opened. One that
    only another member of a group may write is `put_away` (removed, if nothing is given) when nobody holds it any more.
    """
    while True:
        try:
            fd, is_writable = folder.open(name, flags), True
        except PermissionError:
            if not flags & os.O_CREAT or not folder.has(name):
                raise
            fd, is_writable = folder.open(name), False
        try:
            lock(fd, folder.path_of(name), shared=shared, waiting=waiting)
            if folder.names_file(name, fd):
                if is_writable:
                    return fd
                (put_away or type(folder).unlink)(folder, name)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def locked_folder(folder: Folder, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder. Raises `NoLocksError` and `OSError`."""
    fd = folder.listed()
    try:
        lock(fd, folder.path, shared=shared)
        yield
    finally:
        os.close(fd)


@contextmanager
def locked(state: str, purpose: str, *keys: str, size: int = 1) -> Iterator[None]:
    """Hold the locks of all `keys` for `purpose`. Raises `StorageError` where one can't be made.

    There are 256 lock files a purpose, however many keys, or more by a larger `size`, in bytes, of their numbers: keys of
    one file wait for each other now and then. No thread may ask for more locks of a purpose while it holds some. Those of
    another size are other locks.
    """
    stripes = {hashlib.blake2b(os.fsencode(key), digest_size=size).hexdigest() for key in keys}
    path = os.path.join(state, "locks", purpose)
    held: list[int] = []
    try:
        try:
            with Root(state, kind=PrivateFolder) as root:
                folder = root.make(f"locks/{purpose}")
                for stripe in sorted(stripes):  # always in the same order, so that no two wait for each other
                    path = folder.path_of(stripe)
                    held.append(folder.open(stripe, os.O_RDWR | os.O_CREAT))
                    lock(held[-1], path)
        except OSError as error:
            raise storage_error(
                "a lock can't be made in the state folder", path, error, elsewhere=STATE_SETTING
            ) from None
        yield
    finally:
        for fd in held:
            os.close(fd)


def _flock(fd: int, operation: int) -> None:
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(error.errno, error.strerror) from None
        raise
