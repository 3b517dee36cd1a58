"""Whole files or none: a reader sees the old bytes or the new ones, and a kill at any moment leaves one of the two."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from model_provisioner.errors import StorageError


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`: temp file in the same folder, fsync, rename.

    The temp file has one name for each target and is its own lock, so that two writers wait for each other, and what a
    killed writer left is used again by the next one instead of staying for ever.
    """
    folder, name = os.path.split(path)
    # A long name plus a suffix could pass the 255 bytes a name may have.
    temp = os.path.join(folder, f".{name}.tmp" if len(os.fsencode(name)) < 250 else f".{name[:60]}.tmp")
    try:
        os.makedirs(folder, exist_ok=True)
        fd = _open_own(temp)
        try:
            os.ftruncate(fd, 0)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            os.replace(temp, path)
        except OSError:
            os.unlink(temp)  # on a full disk, half a file is in everybody's way
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise storage_error("a file could not be written", path, error) from None


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
    """Remove the file at `path` so that it stays away after a crash; return whether it was there."""
    try:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise storage_error("a file could not be removed", path, error) from None
    return True


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
        return os.read(fd, limit)
    except OSError:
        return None
    finally:
        os.close(fd)


def storage_error(what: str, path: str, error: OSError) -> StorageError:
    """Word an operating system's refusal to write or remove a file of ours."""
    fixes = {
        "ENOSPC": "free some space on that disk and run again; what was finished is kept",
        "EDQUOT": "free some of your quota on that disk and run again; what was finished is kept",
        "EROFS": "the disk is read-only: point runtime_dir (or the handoff) to a folder that can be written",
        "EACCES": "give yourself write permission to that folder, or point runtime_dir elsewhere",
        "EPERM": "give yourself write permission to that folder, or point runtime_dir elsewhere",
        "EISDIR": "a folder has the name of this file: rename it",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    return StorageError(
        what, where=path, found=error.strerror or str(error), fix=fixes.get(name, "mend that and run again")
    )
