"""Single flight: of all threads and processes that want one thing, one brings it; the others wait and see it grow.

The locks of `locks.py` lie on the local disk, are shared by many keys and are held for moments. These lie in the store,
which other machines may use too, have a file each, which may go when it is old, and are held as long as a download takes.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from model_provisioner.fs.atomic import storage_error
from model_provisioner.store.partial import SETTING, arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.store.store import Store

FOLDER = "locks"
POLL_S = 0.1
"""Seconds between two tries: a lock that is waited for in the kernel tells no progress."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def flight(store: Store, key: str, waiting: Callable[[int], object] = lambda _: None) -> Iterator[None]:
    """Hold the kernel's lock of `key`; while another owner has it, call `waiting` with the bytes that arrived so far.

    What was waited for is usually there afterwards: look before you fetch. Where the file system has no locks nobody
    waits, and work is done twice, which is all that depends on it. `waiting` may raise to give up. Raises `StorageError`.
    """
    from filelock import FileLock, Timeout

    path = os.path.join(store.folder(FOLDER), f"{hashlib.sha256(os.fsencode(key)).hexdigest()}.lock")
    # Not the library's way out where there are no locks: a file that says "locked" outlives its owner.
    lock = FileLock(path, blocking=False, poll_interval=POLL_S, thread_local=False, fallback_to_soft=False)
    try:
        while not lock.is_locked:
            try:
                lock.acquire(blocking=True, timeout=POLL_S)
            except Timeout:
                waiting(arrived(store, key))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise storage_error("a lock can't be made in the store", path, error, elsewhere=SETTING) from None
    try:
        yield
    finally:
        lock.release()


def remove_unused(folder: str, before: float) -> None:
    """Remove the lock files that nobody holds and that are older than `before`, in seconds since the epoch.

    Whoever opened one meanwhile finds that it has no name any more and makes another. Raises `OSError`.
    """
    for entry in list(os.scandir(folder)):
        if entry.name.endswith(".lock") and entry.stat(follow_symlinks=False).st_mtime < before:
            from filelock import FileLock, Timeout

            with suppress(OSError, Timeout), FileLock(entry.path, timeout=0, fallback_to_soft=False):
                os.unlink(entry.path)
