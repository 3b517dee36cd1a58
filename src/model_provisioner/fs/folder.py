"""Folders held by descriptor: what is done in one is done there, wherever its path leads meanwhile.

The path of a root may contain links. Below it none is followed: every folder is opened from the one above it. A link, a
device or a FIFO where a file or folder of ours belongs is refused by name, and so is a file with a second name that we
would write into: a hard link may be the name of somebody else's file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from model_provisioner.fs.read import LIMIT, NotOursError, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_HOLD = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Linux lets a folder be held by whoever may search it, as a path does; macOS only by who may list it."""

_NO_WAITING = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_HARD_LINK = "a hard link, another name of some file"


class Folder:
    """An open folder, also as a context manager; one that nothing refers to is closed, too. Names are single names in it.

    What is made in it, others may read or write as the umask has it, but never everybody write.
    """

    __slots__ = ("_fd", "path")

    FILE_MODE: ClassVar[int] = 0o664
    FOLDER_MODE: ClassVar[int] = 0o775

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd

    @classmethod
    def at(cls, path: str) -> Self:
        """Open the folder at a path, whose links are followed. Raises `OSError`."""
        return cls(path, os.open(path or ".", _HOLD))

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

    def folder(self, name: str) -> Self:
        """Open a folder in this one. Raises `NotOursError` for a link to one, and `OSError`."""
        path = self.path_of(name)
        try:
            fd = os.open(name, _HOLD | os.O_NOFOLLOW, dir_fd=self._fd)
        except OSError:
            self.check(name)
            raise
        folder = type(self)(path, fd)
        self._check_owner(path, os.fstat(fd))
        return folder

    def is_gone(self) -> bool:
        """Tell whether the folder was removed since it was opened."""
        try:
            return os.fstat(self._fd).st_nlink == 0
        except OSError:  # a stale handle of a network file system
            return True

    def is_at_its_path(self) -> bool:
        """Tell whether the path still leads to this folder. Raises `OSError` where that can't be told."""
        return os.path.samestat(os.fstat(self._fd), os.stat(self.path or "."))

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file of ours, to write only one that has no other name. Raises `NotOursError` and `OSError`."""
        try:
            fd = os.open(name, flags | _NO_WAITING, self.FILE_MODE, dir_fd=self._fd)
        except OSError:
            self.check(name)
            raise
        try:
            path, found = self.path_of(name), os.fstat(fd)
            _check_file(path, found, flags)
            self._check_owner(path, found)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def check(self, name: str) -> None:
        """Raise `NotOursError` where there is something by this name that is neither a file nor a folder."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = self.stat(name)
            if stat.S_ISLNK(found.st_mode):
                raise NotOursError(self.path_of(name), f"a link to {self.readlink(name)}")
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise NotOursError(self.path_of(name), _word(found))

    def _check_owner(self, path: str, found: os.stat_result) -> None:
        """Raise `NotOursError` for what may not belong to somebody else: here it may, for a group may share the folder."""

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
        fd = self.listed()
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

    def mkdir(self, name: str, mode: int = FOLDER_MODE) -> None:
        """Make a folder, with a mode that the umask may lessen. Raises `OSError`."""
        os.mkdir(name, mode, dir_fd=self._fd)

    def readlink(self, name: str) -> str:
        """Return where a link leads. Raises `OSError`."""
        return os.readlink(name, dir_fd=self._fd)

    def symlink(self, target: str, name: str) -> None:
        """Make a link. Raises `OSError`."""
        os.symlink(target, name, dir_fd=self._fd)

    def touch(self, name: str) -> None:
        """Set the times of a file to now. Raises `NotOursError` for one with another name, and `OSError`."""
        _check_file(self.path_of(name), self.stat(name), os.O_WRONLY)
        os.utime(name, dir_fd=self._fd, follow_symlinks=False)

    def sync(self) -> None:
        """Wait until the names in the folder are safely on the disk. Raises `OSError`."""
        fd = self.listed()
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def listed(self) -> int:
        """Open the folder once more: to list or lock it by the held descriptor would share its position and its lock."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)


class PrivateFolder(Folder):
    """A folder of the user alone: what belongs to somebody else in it is refused by name."""

    __slots__ = ()

    FILE_MODE = 0o600
    FOLDER_MODE = 0o700

    def _check_owner(self, path: str, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise NotOursError(path, f"something that belongs to the user {found.st_uid}")


def _check_file(path: str, found: os.stat_result, flags: int) -> None:
    """Raise where what was opened is no file of ours: to be written, it may have no other name. Raises `OSError`."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise NotOursError(path, _word(found))
    if found.st_nlink > 1 and flags & os.O_ACCMODE:
        raise NotOursError(path, _HARD_LINK)


def _word(found: os.stat_result) -> str:
    return {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(found.st_mode), "a device")


def write_all(fd: int, data: bytes) -> None:
    """Write bytes at the position of an open file. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
