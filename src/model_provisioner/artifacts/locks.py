"""Locks between threads and processes of one user, kept by the kernel: the owner's death frees them, none goes stale."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.artifacts.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def locked(state: str, purpose: str, key: str) -> Iterator[None]:
    """Hold the lock of `key` for `purpose`. Raises `StorageError` where none can be made.

    There are 256 lock files a purpose, however many keys: two keys that fall on one file wait for each other now and
    then, which is harmless as long as no thread asks for a second lock of a purpose while it holds one.
    """
    stripe = hashlib.blake2b(os.fsencode(key), digest_size=1).hexdigest()
    path = os.path.join(state, "locks", purpose, stripe)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error("a lock can't be made in the state folder", path, error) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
