"""Roots: what lies below one is reached from it, folder by folder, and no link on the way is followed."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.fs.folder import Folder
from model_provisioner.fs.read import LIMIT

if TYPE_CHECKING:
    from typing import Self

KEPT = 64
"""How many folders below a root are kept open."""


class Root:
    """A folder under which everything is ours, and the folders below it that were used last, held open.

    A name is a path from the root without `.` and `..`, empty for the root itself. Opened at its first use; threads may
    share it. Used as a context manager, it closes at the end.
    """

    def __init__(self, path: str, *, kept: int = KEPT, kind: type[Folder] = Folder) -> None:
        self.path, self._kept, self._kind = path, kept, kind
        self._open: dict[str, Folder] = {}
        """The last used one at the end."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders; their next use opens them again."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def let_go(self) -> None:
        """Walk to the folders anew from now on; who is using one of them still holds it."""
        with self._lock:
            self._open.clear()

    def folder(self, name: str = "") -> Folder:
        """Return a folder that is there. Raises `NotOursError` for a link in its way, and `OSError`."""
        with self._lock:
            folder = self._open.pop(name, None)
        if folder is None or folder.is_gone():
            above, _, last = name.rpartition("/")
            folder = self.folder(above).folder(last) if name else self._kind.at(self.path)
        with self._lock:
            self._open[name] = folder
            if len(self._open) > self._kept:
                del self._open[next(iter(self._open))]
        return folder

    def make(self, name: str = "") -> Folder:
        """Return a folder; make it, and those above it, so that they stay after a crash. Raises `OSError`."""
        try:
            return self.folder(name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        above, last = os.path.split(name or self.path)
        if name:
            _make_in(self.make(above), last, self._kind.FOLDER_MODE)
        else:
            with Root(above) as parent:
                _make_in(parent.make(), last, self._kind.FOLDER_MODE)
        return self.folder(name)


class Roots:
    """Several roots, asked by absolute path, so that callers keep paths: each lies below the root that is named for it.

    A path below none of them lies in a root of its own, its folder. Paths have no `.` and `..`. Single files are read
    by folders that are held; what is written or removed has its folders walked to anew. Threads may share it.
    """

    def __init__(self, *paths: str, kind: type[Folder] = Folder) -> None:
        self._tops = sorted({path.rstrip("/") for path in paths}, key=len, reverse=True)  # the innermost first
        self._kind = kind
        self._roots: dict[str, Root] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders; their next use opens them again."""
        for root in self._roots.values():
            root.close()

    def let_go(self) -> None:
        """Walk to the folders anew from now on: one that is held is not noticed to be elsewhere."""
        for root in list(self._roots.values()):
            root.let_go()

    def anew(self) -> Roots:
        """Return the same roots, of which no folder is held."""
        return Roots(*(top or "/" for top in self._tops), kind=self._kind)

    def folder(self, path: str) -> Folder:
        """Return the folder at a path. Raises `NotOursError` for a link in its way, and `OSError`."""
        root, below = self._below(path)
        return root.folder(below)

    def make(self, path: str) -> Folder:
        """Return the folder at a path, made where it is missing. Raises `NotOursError` and `OSError`."""
        root, below = self._below(path)
        return root.make(below)

    def read(self, path: str, limit: int = LIMIT) -> bytes | None:
        """Return the bytes of a regular file, None where there is none, or it can't be read, or is larger than `limit`."""
        folder, name = os.path.split(path)
        try:
            return self.folder(folder).read(name, limit)
        except OSError:
            return None

    def _below(self, path: str) -> tuple[Root, str]:
        for top in self._tops:
            if path == top or path.startswith(f"{top}/"):
                return self._root(top or "/"), path[len(top) + 1 :]
        return self._root(path), ""

    def _root(self, path: str) -> Root:
        root = self._roots.get(path)
        return self._roots.setdefault(path, Root(path, kind=self._kind)) if root is None else root


ANYWHERE = Roots()
"""For what the user named: a path below none of our roots."""


def _make_in(folder: Folder, name: str, mode: int) -> None:
    try:
        folder.mkdir(name, mode)
    except FileExistsError:
        if not stat.S_ISDIR(folder.stat(name).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    with suppress(OSError):
        folder.sync()
