"""A secret of this user in the state folder: drawn once, for all processes, and read by nobody else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.locking.locks import locked_folder
from model_provisioner.fs.read import read_descriptor
from model_provisioner.fs.root import Root, Roots

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fs.folder import Folder

LIMIT = 1 << 16


def read_secret(folder: str, name: str) -> bytes | None:
    """Return the bytes of a secret, None where there is none. Raises `NotOursError` and `OSError`."""
    with Root(folder, kind=PrivateFolder) as root:
        return _read(root.folder(), name)


def keep_secret(folder: str, name: str, draw: Callable[[], bytes], is_whole: Callable[[bytes], bool]) -> bytes:
    """Return the secret that is kept by `name`; where it is missing or not whole, keep the one that `draw` returns.

    Of several processes that find none, one draws it. Raises `NotOursError`, and `OSError` or `StorageError` where it can't
    be kept.
    """
    with Root(folder, kind=PrivateFolder) as root, locked_folder(root.make()):
        kept = _read(root.folder(), name)
        if kept is not None and is_whole(kept):
            return kept
        drawn = draw()
        write_atomically(os.path.join(folder, name), drawn, Roots(folder, kind=PrivateFolder))
        return drawn


def _read(folder: Folder, name: str) -> bytes | None:
    try:
        fd = folder.open(name)
    except FileNotFoundError:
        return None
    try:
        return read_descriptor(fd, LIMIT)
    finally:
        os.close(fd)
