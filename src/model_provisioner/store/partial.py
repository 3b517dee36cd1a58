"""A file on its way into the store: one a owner, which the next owner takes over when this one dies.

The kernel's lock of the file says whether its owner lives. Nothing depends on it but the work that would be done twice:
where a file system has no locks, everybody begins a file of their own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import secrets
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.atomic import read_if_there, storage_error
from model_provisioner.hashing.follower import Follower
from model_provisioner.hashing.streaming import Hashes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from model_provisioner.errors import StorageError
    from model_provisioner.store.store import Store

FOLDER = "partial"
SETTING = "cache_dir"
"""What a user sets to have the store somewhere else."""
WRITEBACK = 32 << 20
"""After how many bytes the disk is told to begin: what waits in memory then is little when the last byte has come."""
SYNCED_EVERY = 1 << 30
"""After how many bytes it is noted that they are safely on the disk: that many a power cut may make to come once more."""
_FICLONE = 0x40049409


@dataclass(frozen=True)
class Received(Hashes):
    """What arrived: the digests of the bytes, and how many there are."""

    git_blob: str | None
    """The object id that git gives them (SHA-1 of `blob <size>`, NUL and the bytes); None where their size is not the one
    that was expected, or none was."""
    size: int


class Partial:
    """The growing file of one owner; a context manager that keeps it for the next owner unless it was published."""

    def __init__(self, path: str, fd: int, git_size: int | None) -> None:
        self.path, self._fd, self._git_size = path, fd, git_size
        note = _read_note(path)
        size = os.fstat(fd).st_size
        if note.boot != _boot():  # the file may be as long as it was, with nothing in it
            size = min(size, note.synced)
            os.ftruncate(fd, size)
        self._follower = Follower(fd, size, git_size)
        self.validator = note.validator if self.size else None
        """What the server called that version of the resource: a strong ETag or a time of last modification."""
        self._synced = min(size, note.synced)
        """Up to where it is known to be safely on the disk."""
        self._told = self.size
        """Up to where the disk was told to begin."""
        self._open = True

    @classmethod
    def open(cls, store: Store, key: str, *, git_size: int | None = None) -> Partial:
        """Take over what a dead owner left of `key`, or begin; with `git_size`, the size in bytes, git's id is taken too.

        Of several files that dead owners left the longest is taken and the others are removed. Raises `StorageError`.
        """
        folder = store.folder(FOLDER)
        stem = stem_of(key)
        try:
            left = sorted(_take_over(folder, stem), key=lambda each: os.fstat(each[1]).st_size)
            for path, fd in left[:-1]:
                _remove(path)
                os.close(fd)
            path, fd = left[-1] if left else _begin(folder, stem)
        except OSError as error:
            raise storage_error("a download can't be begun", folder, error, elsewhere=SETTING) from None
        return cls(path, fd, git_size)

    @property
    def size(self) -> int:
        """How many bytes there are, all of one version of the resource."""
        return self._follower.written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, validator: str | None) -> None:
        """Say which version of the resource comes: bytes of another one are dropped, as they are where none is named."""
        if self.size and validator is not None and validator == self.validator:
            return
        try:
            other = self.size > 0
            self._restart(0)
            if other:  # nor may a power cut bring the old bytes back under the new name
                os.fsync(self._fd)
            # After the cut: a kill between the two leaves an empty file, never old bytes under the new name.
            _write_note(self.path, _Note(validator, _boot(), 0))
        except OSError as error:
            raise self._failed(error) from None
        self.validator = validator

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises `StorageError`, and keeps those before then, where the disk is full."""
        try:
            # At its place and not at the end: what a failed or interrupted write left there is written over.
            view, place = memoryview(chunk), self.size
            while view:
                count = os.pwrite(self._fd, view, place)
                view, place = view[count:], place + count
            self._follower.add(chunk)
            if self.size - self._told >= WRITEBACK:
                self._start_writeback()
            if self.size - self._synced >= SYNCED_EVERY:
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise self._failed(error) from None

    def clone(self, source: int) -> bool:
        """Let it hold the bytes of an open file, sharing its place on the disk; return whether the file system can."""
        if sys.platform != "linux":  # Python offers no clonefile
            return False
        try:
            fcntl.ioctl(self._fd, _FICLONE, source)
        except OSError:
            return False
        self._restart(os.fstat(self._fd).st_size)
        return True

    def finish(self) -> Received:
        """Return what arrived when its last byte is hashed. Raises `StorageError`."""
        try:
            if os.fstat(self._fd).st_size > self.size:  # what an interrupted write left
                os.ftruncate(self._fd, self.size)
            sha256, fingerprint, git_blob = self._follower.finish()
        except OSError as error:
            raise self._failed(error) from None
        return Received(sha256, fingerprint, git_blob if self.size == self._git_size else None, self.size)

    def seal(self) -> None:
        """Let nobody write it any more, and wait until it is safely on the disk. Raises `OSError`."""
        os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o444)
        os.fsync(self._fd)

    def move(self, path: str) -> None:
        """Give it its name in the store and let it go. Raises `OSError`."""
        os.rename(self.path, path)
        self._let_go()
        with contextlib.suppress(OSError):
            os.unlink(_note(self.path))

    def discard(self) -> None:
        """Remove it and let it go."""
        if self._open:
            with contextlib.suppress(OSError):
                _remove(self.path)
        self._let_go()

    def close(self) -> None:
        """Let it go; the next owner finds what is there."""
        if self._open and not self.size:
            self.discard()
        elif self._open and self.size > self._synced:
            with contextlib.suppress(OSError):
                self._sync()
        self._let_go()

    def _let_go(self) -> None:
        if self._open:
            self._open = False
            self._follower.close()
            os.close(self._fd)

    def _restart(self, size: int) -> None:
        """Keep the first `size` bytes, and hash them anew."""
        self._follower.close()
        os.ftruncate(self._fd, size)
        self._follower = Follower(self._fd, size, self._git_size)
        self._told = size
        self._synced = min(self._synced, size)

    def _sync(self) -> None:
        """Wait until what is there is safely on the disk, and note it for whoever comes after a power cut."""
        size = self.size
        os.fsync(self._fd)
        _write_note(self.path, _Note(self.validator, _boot(), size))
        self._synced = size

    def _start_writeback(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it is but advice
                os.posix_fadvise(self._fd, self._told, self.size - self._told, os.POSIX_FADV_DONTNEED)
        self._told = self.size

    def _failed(self, error: OSError) -> StorageError:
        return storage_error("a download could not be written", self.path, error, elsewhere=SETTING)


def arrived(store: Store, key: str) -> int:
    """Return how many bytes of `key` the longest file on its way has, whoever owns it."""
    sizes = [0]
    with contextlib.suppress(OSError):
        for path in _left(os.path.join(store.root, FOLDER), stem_of(key)):
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(path).st_size)
    return max(sizes)


def remove_dead(folder: str, before: float) -> None:
    """Remove what nobody owns and nobody has written since `before`, in seconds since the epoch. Raises `OSError`."""
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(OSError):
            if not entry.is_file(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_mtime >= before:
                continue
            if entry.name.endswith(".json"):
                if not os.path.lexists(entry.path.removesuffix(".json")):
                    os.unlink(entry.path)
                continue
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _claim(fd, entry.path) is not False:
                    _remove(entry.path)
            finally:
                os.close(fd)


def stem_of(key: str) -> str:
    """Return how the names of all files of a key begin: a key may hold what no file name can, and what nobody may see."""
    return hashlib.sha256(os.fsencode(key)).hexdigest()


def _note(path: str) -> str:
    return f"{path}.json"


def _left(folder: str, stem: str) -> Iterator[str]:
    for name in os.listdir(folder):
        if name.startswith(f"{stem}.") and not name.endswith(".json"):
            yield os.path.join(folder, name)


def _take_over(folder: str, stem: str) -> Iterator[tuple[str, int]]:
    """Yield path and descriptor of each file of a dead owner, which is ours now."""
    for path in _left(folder, stem):
        try:
            fd = _open_left(path)
        except OSError:  # somebody else's, gone, or no file
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode) and _claim(fd, path):
            yield path, fd
        else:
            os.close(fd)


def _open_left(path: str) -> int:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | flags)
    except PermissionError:
        # Its owner died between the last change of its mode and the rename, or lives and is about to rename it.
        fd = os.open(path, os.O_RDONLY | flags)
        try:
            if not _claim(fd, path):
                raise
            os.fchmod(fd, os.fstat(fd).st_mode | stat.S_IWUSR)
            return os.open(path, os.O_RDWR | flags)
        finally:
            os.close(fd)


def _begin(folder: str, stem: str) -> tuple[str, int]:
    while True:
        path = os.path.join(folder, f"{stem}.{secrets.token_hex(8)}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        if _claim(fd, path) is not False:
            return path, fd
        os.close(fd)  # somebody took it over before it was locked, as if we were dead


def _claim(fd: int, path: str) -> bool | None:
    """Own the file that `path` names; return False where another one does, or it is gone, None where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in {errno.EWOULDBLOCK, errno.EACCES} else None
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_note(path))


@dataclass(frozen=True)
class _Note:
    """What is kept beside a file on its way."""

    validator: str | None
    boot: str | None
    """Of which start of the machine its last writer was: what it wrote may be lost with the next one."""
    synced: int
    """How many bytes were safely on the disk."""


def _read_note(path: str) -> _Note:
    try:
        found = json.loads(read_if_there(_note(path), limit=1 << 16) or b"")
        validator, boot, synced = found["validator"], found.get("boot"), found.get("synced", 0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _Note(None, None, 0)
    known = isinstance(validator, str | None) and isinstance(boot, str | None)
    if not known or type(synced) is not int or synced < 0:
        return _Note(None, None, 0)
    return _Note(validator, boot, synced)


def _write_note(path: str, note: _Note) -> None:
    """Replace the note whole: what is written now and then must not be lost to a kill. Raises `OSError`."""
    draft = os.path.join(os.path.dirname(path), f"draft.{secrets.token_hex(8)}")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"boot": note.boot, "synced": note.synced, "validator": note.validator}, file)
    os.replace(draft, _note(path))


@functools.cache
def _boot() -> str | None:
    """Return what tells one start of this machine from the next, and it from others; None where nothing does."""
    return (read_if_there("/proc/sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip() or None
