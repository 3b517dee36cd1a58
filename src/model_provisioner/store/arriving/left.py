"""The files on their way into a store: what they are called, whose they are, and which of them nobody owns any more."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from model_provisioner.fs.locking.locks import NoLocksError, try_lock
from model_provisioner.store.arriving.note import note_name
from model_provisioner.store.layout import PARTIAL, stem_in, stem_of
from model_provisioner.store.owners import reach_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.fs.folder import Folder
    from model_provisioner.store.layout import Layout


def arrived(store: Layout, key: str) -> int:
    """Return how many bytes of `key` the longest file on its way has, whoever owns it."""
    sizes = [0]
    with contextlib.suppress(OSError):
        folder = store.held(PARTIAL)
        for name in _left(folder, stem_of(key)):
            with contextlib.suppress(OSError):
                sizes.append(folder.stat(name).st_size)
    return max(sizes)


def remove_unowned(store: Layout, folder: Folder, name: str) -> bool:
    """Remove a file that no living run owns, with its note; return False for one that a run owns. Raises `OSError`.

    Of an owner whom our locks don't reach, the caller knows that it is dead.
    """
    fd = folder.open(name)
    try:
        if reach_in(name) == store.reach and _claim(folder, name, fd) is False:
            return False
        remove(folder, name)
        return True
    finally:
        os.close(fd)


def _left(folder: Folder, stem: str) -> list[str]:
    return [name for name in folder.names() if stem_in(name) == stem]


def take_over(folder: Folder, reach: str, stem: str) -> Iterator[tuple[str, int]]:
    """Yield name and descriptor of each file of a dead owner whom our locks reach, which is ours now."""
    for name in _left(folder, stem):
        if reach_in(name) != reach:
            continue
        try:
            fd = _open_left(folder, name)
        except OSError:  # another user's, gone, or no file
            continue
        if _claim(folder, name, fd):
            yield name, fd
        else:
            os.close(fd)


def _open_left(folder: Folder, name: str) -> int:
    try:
        return folder.open(name, os.O_RDWR)
    except PermissionError:
        # Its owner died between the last change of its mode and the rename, or lives and is about to rename it.
        fd = folder.open(name)
        try:
            if os.fstat(fd).st_nlink > 1 or not _claim(folder, name, fd):  # a hard link is of somebody else's file
                raise
            os.fchmod(fd, os.fstat(fd).st_mode | stat.S_IWUSR)
            return folder.open(name, os.O_RDWR)
        finally:
            os.close(fd)


def begin(folder: Folder, reach: str, stem: str) -> tuple[str, int]:
    """Begin a file of ours; return its name and descriptor. Raises `OSError`."""
    while True:
        # The reach comes first: versions before took over whatever begins with the stem.
        name = f"{reach}.{stem}.{secrets.token_hex(8)}"
        fd = folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if _claim(folder, name, fd) is not False:
            return name, fd
        os.close(fd)  # another run took it over before it was locked, as if we were dead


def _claim(folder: Folder, name: str, fd: int) -> bool | None:
    """Own the file of that name; return False where another one does, or it is gone, None where there are no locks."""
    try:
        return try_lock(fd) and folder.names_file(name, fd)
    except NoLocksError:
        return None


def remove(folder: Folder, name: str) -> None:
    """Remove a file of ours, with its note. Raises `OSError`."""
    folder.unlink(name)
    with contextlib.suppress(FileNotFoundError):
        folder.unlink(note_name(name))
