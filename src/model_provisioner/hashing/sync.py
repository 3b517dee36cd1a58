"""Sync: bring the bytes and times of files to the disk before they are read.

A power cut then leaves no new bytes under old times. And a later store through an old shared mapping changes the times:
without this, no stat call shows a store to a page that is already dirty.
"""

from __future__ import annotations

import errno
import os
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, TypeAlias

from model_provisioner.errors import ProvisionError
from model_provisioner.fs.identity import Identity, identity
from model_provisioner.hashing.streaming import open_model, unreadable
from model_provisioner.hashing.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.hashing.streaming import Progress

AT_ONCE = 16
"""How many files this process syncs at a time, whoever reads them. Each sync waits for a flush of the disk, and those that
wait together share one; twice as many gained nothing on a local disk, and each is an open file."""

_NOT_SYNCED = (errno.EINVAL, errno.EROFS, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says on which nothing is to be synced. Any other error is one of the disk."""

_turns = BoundedSemaphore(AT_ONCE)

Synced: TypeAlias = "Identity | ProvisionError"
"""How a file was when it was synced, or what kept it from that. The kernel tells of a failed write once: it is no second
sync that has to say so."""


def sync(fd: int) -> None:
    """Wait until bytes and times of an open file are on the disk. Raises `OSError` where the disk fails."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def sync_all(paths: Sequence[str], progress: Progress) -> dict[str, Synced]:
    """Sync many files at once; return by path how each was then. `progress` is told of 0 bytes now and then."""

    def sync_some(some: Sequence[str], check: Callable[[], None]) -> dict[str, Synced]:
        found: dict[str, Synced] = {}
        for path in some:
            check()
            with _turns:
                found[path] = _sync_one(path)
        return found

    # Not the file system as a whole (syncfs): that would wait for whatever others write there, and not say which file failed.
    synced: dict[str, Synced] = {}
    shares = [paths[first::AT_ONCE] for first in range(min(AT_ONCE, len(paths)))]
    for _, found in in_threads(sync_some, shares, AT_ONCE):
        synced.update(found)
        progress(0)
    return synced


def _sync_one(path: str) -> Synced:
    try:
        fd = open_model(path)
    except ProvisionError as error:
        return error
    try:
        sync(fd)
        return identity(os.fstat(fd))
    except OSError as error:
        return unreadable(path, error)
    finally:
        os.close(fd)
