"""Folders held by descriptor: what is done in one is done there, wherever its path leads meanwhile.

The path of a root may contain links. Below it none is followed: every folder is opened from the one above it.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.fs.read import LIMIT, open_regular, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_HOLD = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Linux lets a folder be held by whoever may search it, as a path does; macOS only by who may list it."""

KEPT = 64
"""How many folders below a root are kept open."""


class Folder:
    """An open folder, also as a context manager; one that nothing refers to is closed, too. Names are single names in it."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd

    @classmethod
    def at(cls, path: str) -> Folder:
        """Open the folder at a path, whose links are followed. Raises `OSError`."""
        return cls(path, os.open(path or ".", _HOLD))

    @classmethod
    def made(cls, path: str, mode: int = 0o777) -> Folder:
        """Open the folder at a path; make it, and those above it, where it is missing. Raises `OSError`."""
        try:
            return cls.at(path)
        except FileNotFoundError:
            os.makedirs(path, mode, exist_ok=True)
            return cls.at(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder: whoever uses it after that gets an `OSError`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close

    def path_of(self, name: str) -> str:
        """Return the path of a name, for messages and for those who take paths only."""
        return os.path.join(self.path, name)

    def folder(self, name: str) -> Folder:
        """Open a folder in this one, and no link to one. Raises `OSError`."""
        return Folder(self.path_of(name), os.open(name, _HOLD | os.O_NOFOLLOW, dir_fd=self._fd))

    def is_gone(self) -> bool:
        """Tell whether the folder was removed since it was opened."""
        try:
            return os.fstat(self._fd).st_nlink == 0
        except OSError:  # a stale handle of a network file system
            return True

    def is_at_its_path(self) -> bool:
        """Tell whether the path still leads to this folder. Raises `OSError` where that can't be told."""
        return os.path.samestat(os.fstat(self._fd), os.stat(self.path or "."))

    def open(self, name: str, flags: int, mode: int = 0o644) -> int:
        """Open a file, and no link. Raises `OSError`."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=self._fd)

    def open_regular(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file, and no link. Raises `NotAFileError` and `OSError`."""
        return open_regular(name, flags | os.O_NOFOLLOW, folder=self._fd)

    def read(self, name: str, limit: int = LIMIT) -> bytes | None:
        """Return the bytes of a regular file, None where there is none, or it can't be read, or is larger than `limit`."""
        try:
            return read_file(name, limit, flags=os.O_NOFOLLOW, folder=self._fd)
        except OSError:
            return None

    def write(self, name: str, data: bytes, *, sync: bool) -> None:
        """Write a new file; with `sync`, wait until its bytes are safely on the disk. Raises `OSError`."""
        fd = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the stat of a name; of a link its own. Raises `OSError`."""
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def has(self, name: str) -> bool:
        """Tell whether there is anything by this name. Raises `OSError` where that can't be told."""
        try:
            self.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names_file(self, name: str, fd: int) -> bool:
        """Tell whether a name is that of an open file. Raises `OSError` where that can't be told."""
        try:
            return os.path.samestat(self.stat(name), os.fstat(fd))
        except FileNotFoundError:
            return False

    def names(self) -> list[str]:
        """Return the names in the folder, sorted. Raises `OSError`."""
        fd = self._listed()
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def walk(self) -> Iterator[tuple[str, str | os.stat_result]]:
        """Yield all that lies below and is no folder, as path from here; of a link its target, of anything else its stat."""
        for below, folders, names, fd in os.fwalk(".", dir_fd=self._fd):
            for name in (*names, *folders):  # a link to a folder is among the folders
                with suppress(OSError):  # gone meanwhile
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if not stat.S_ISDIR(found.st_mode):
                        path = name if below == "." else f"{below[2:]}/{name}"
                        yield path, os.readlink(name, dir_fd=fd) if stat.S_ISLNK(found.st_mode) else found

    def rename(self, name: str, folder: Folder, new: str) -> None:
        """Move a name into a folder, in the place of what has the new name there. Raises `OSError`."""
        os.rename(name, new, src_dir_fd=self._fd, dst_dir_fd=folder._fd)

    def unlink(self, name: str) -> None:
        """Remove a file or link. Raises `OSError`."""
        os.unlink(name, dir_fd=self._fd)

    def remove_all(self, name: str) -> None:
        """Remove a file, a link or a folder with all that is in it, as far as that can be done."""
        try:
            self.unlink(name)
        except (IsADirectoryError, PermissionError):  # macOS says the second of a folder
            import shutil  # it brings the compressors along, which a run with nothing to do has no use for

            shutil.rmtree(name, ignore_errors=True, dir_fd=self._fd)
        except OSError:
            pass

    def mkdir(self, name: str, mode: int = 0o775) -> None:
        """Make a folder, as the umask has it, but not for everybody to write. Raises `OSError`."""
        os.mkdir(name, mode, dir_fd=self._fd)

    def symlink(self, target: str, name: str) -> None:
        """Make a link. Raises `OSError`."""
        os.symlink(target, name, dir_fd=self._fd)

    def touch(self, name: str) -> None:
        """Set the times of a file to now. Raises `OSError`."""
        os.utime(name, dir_fd=self._fd)

    def sync(self) -> None:
        """Wait until the names in the folder are safely on the disk. Raises `OSError`."""
        fd = self._listed()
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _listed(self) -> int:
        """Open the folder once more: to list or lock it by the held descriptor would share its position and its lock."""
        return self.open(".", os.O_RDONLY | os.O_DIRECTORY)


class Root:
    """A folder under which everything is ours, and the folders below it that were used last, held open.

    A name is a path from the root without `.` and `..`, empty for the root itself. Opened at its first use; threads may
    share it. Used as a context manager, it closes at the end.
    """

    def __init__(self, path: str, *, kept: int = KEPT) -> None:
        self.path, self._kept = path, kept
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

    def folder(self, name: str = "") -> Folder:
        """Return a folder that is there. Raises `OSError`."""
        with self._lock:
            folder = self._open.pop(name, None)
        if folder is None or folder.is_gone():
            above, _, last = name.rpartition("/")
            folder = self.folder(above).folder(last) if name else Folder.at(self.path)
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
            _make_in(self.make(above), last)
        else:
            with Root(above) as parent:
                _make_in(parent.make(), last)
        return self.folder(name)


def _make_in(folder: Folder, name: str) -> None:
    try:
        folder.mkdir(name)
    except FileExistsError:
        if not stat.S_ISDIR(folder.stat(name).st_mode):
            raise
    with suppress(OSError):
        folder.sync()


def write_all(fd: int, data: bytes) -> None:
    """Write bytes at the position of an open file. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
