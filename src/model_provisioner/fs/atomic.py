"""Whole files or none: a reader sees the old bytes or the new ones, and a kill at any moment leaves one of the two."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`: temp file in the same folder, fsync, rename. Raises `StorageError`."""
    with drafted({path: data}) as (drafts, errors):
        for error in errors.values():
            raise error
        for draft in drafts:
            draft.publish()


class Draft:
    """The new content of a file, in a temp file beside it.

    The temp file has one name for each target and is its own lock, so that two writers wait for each other, and what a
    killed writer left is used again by the next one instead of staying for ever.
    """

    def __init__(self, path: str) -> None:
        folder, name = os.path.split(path)
        temp = f"{folder}/.{name}.tmp"
        if len(encoded := os.fsencode(name)) >= 250:
            # Its suffix could pass the 255 bytes a name may have. Cut names may be alike: that would be one lock for both.
            temp = f"{folder}/.{name[:50]}.{hashlib.sha256(encoded).hexdigest()[:16]}.tmp"
        self.path, self._temp, self._published = path, temp, False
        try:
            self._fd = _open_own(temp)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            self._fd = _open_own(temp)

    def write(self, data: bytes) -> None:
        """Let the temp file hold `data` and nothing else."""
        if os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, 0)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def start_writeback(self) -> None:
        """Let the disk begin: it writes many files in one go then, and a sync after that has half as long to wait."""
        if sys.platform == "linux":
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Wait until it is safely on the disk."""
        os.fsync(self._fd)

    def publish(self) -> os.stat_result:
        """Put it in its place; return how it looks there. Raises `StorageError`."""
        try:
            os.replace(self._temp, self.path)
            self._published = True
            return os.fstat(self._fd)
        except OSError as error:
            raise _not_written(self.path, error) from None

    def close(self) -> None:
        """Let it go; what was not published is removed, for on a full disk half a file is in everybody's way."""
        if not self._published:
            with contextlib.suppress(OSError):
                os.unlink(self._temp)
        os.close(self._fd)


@contextlib.contextmanager
def drafted(files: Mapping[str, bytes]) -> Iterator[tuple[list[Draft], dict[str, StorageError]]]:
    """Write drafts of all `files`, given by path; yield those that are safely on the disk, and what kept others from it."""
    drafts: list[Draft] = []
    errors: dict[str, StorageError] = {}
    try:
        for path in sorted(files):  # in one order: the drafts are locks
            try:
                drafts.append(Draft(path))
                drafts[-1].write(files[path])
            except OSError as error:
                errors[path] = _not_written(path, error)
        if len(drafts) > 1:
            for draft in drafts:
                draft.start_writeback()
        for draft in drafts:
            try:
                draft.sync()
            except OSError as error:
                errors.setdefault(draft.path, _not_written(draft.path, error))
        yield [draft for draft in drafts if draft.path not in errors], errors
    finally:
        for draft in drafts:
            draft.close()


def _not_written(path: str, error: OSError) -> StorageError:
    return storage_error("a file could not be written", path, error)


def _open_own(temp: str) -> int:
    while True:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # The writer before us may have renamed the file that we waited for: then it is no temp file any more.
            try:
                if os.path.samestat(os.fstat(fd), os.lstat(temp)):
                    return fd
            except FileNotFoundError:
                pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def remove_durably(path: str) -> bool:
    """Remove the file at `path` so that it stays away after a crash; return whether it was there. Raises `StorageError`."""
    removed = remove_all_durably([path])[path]
    if isinstance(removed, StorageError):
        raise removed
    return removed


def remove_all_durably(paths: Iterable[str]) -> dict[str, bool | StorageError]:
    """Remove files so that they stay away after a crash; return by path whether each was there, or what kept it there."""
    removed: dict[str, bool | StorageError] = {}
    for path in paths:
        try:
            os.unlink(path)
            removed[path] = True
        except (FileNotFoundError, NotADirectoryError):
            removed[path] = False
        except OSError as error:
            removed[path] = storage_error("a file could not be removed", path, error)
    gone = [path for path, was_there in removed.items() if was_there is True]
    for folder in dict.fromkeys(os.path.dirname(path) for path in gone):
        try:
            sync_folder(folder or ".")
        except OSError as error:
            for path in gone:
                if os.path.dirname(path) == folder:
                    removed[path] = storage_error("a file could not be removed", path, error)
    return removed


def sync_folder(folder: str) -> None:
    """Wait until the names in a folder are safely on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_if_there(path: str, limit: int = 16 << 20) -> bytes | None:
    """Return the bytes of a file of ours, None where there is none, or what is there can't be one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        # A buffer of the limit would cost more than the reading. What the kernel makes up, in /proc, has no size.
        return os.read(fd, (status.st_size or 4096) + 1)
    except OSError:
        return None
    finally:
        os.close(fd)


def storage_error(
    what: str, path: str, error: OSError, *, elsewhere: str = "runtime_dir (or the handoff)"
) -> StorageError:
    """Word an operating system's refusal to write or remove a file of ours, which the setting `elsewhere` could move."""
    fixes = {
        "ENOSPC": "free some space on that disk and run again; what was finished is kept",
        "EDQUOT": "free some of your quota on that disk and run again; what was finished is kept",
        "EROFS": f"the disk is read-only: point {elsewhere} to a folder that can be written",
        "EACCES": f"give yourself write permission to that folder, or point {elsewhere} elsewhere",
        "EPERM": f"give yourself write permission to that folder, or point {elsewhere} elsewhere",
        "EISDIR": "a folder has the name of this file: rename it",
        "EEXIST": "a file has the name of this folder: rename it",
        "ENOTDIR": "a file has the name of a folder in this path: rename it",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    return StorageError(
        what, where=path, found=error.strerror or str(error), fix=fixes.get(name, "mend that and run again")
    )
