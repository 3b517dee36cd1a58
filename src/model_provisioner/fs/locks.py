"""Locks between threads and processes of one user, kept by the kernel: the owner's death frees them, none goes stale."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.fs.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def locked(state: str, purpose: str, *keys: str) -> Iterator[None]:
    """Hold the locks of all `keys` for `purpose`. Raises `StorageError` where one can't be made.

    There are 256 lock files a purpose, however many keys: two keys that fall on one file wait for each other now and
    then, which is harmless as long as no thread asks for more locks of a purpose while it holds some.
    """
    stripes = {hashlib.blake2b(os.fsencode(key), digest_size=1).hexdigest() for key in keys}
    held: list[int] = []
    try:
        for stripe in sorted(stripes):  # in one order, so that nobody waits for somebody who waits for them
            held.append(_open(os.path.join(state, "locks", purpose, stripe)))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        yield
    finally:
        for fd in held:
            os.close(fd)


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)
    except OSError as error:
        raise storage_error("a lock can't be made in the state folder", path, error) from None
