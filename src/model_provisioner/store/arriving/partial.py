"""A file on its way into the store: one for each owner, which the next owner takes over when this one dies.

The kernel's lock of the file says whether its owner lives, to those whom it reaches: the others neither write nor remove
the file. Where a file system has no locks, everybody begins a file of their own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.locking.reach import boot_id
from model_provisioner.fs.locking.renewal import RENEWAL
from model_provisioner.fs.read import clone
from model_provisioner.hashing.follower import Follower
from model_provisioner.hashing.streaming import Hashes
from model_provisioner.store.arriving.left import begin, remove, take_over
from model_provisioner.store.arriving.note import Note, note_name
from model_provisioner.store.layout import PARTIAL, stem_of, store_error

if TYPE_CHECKING:
    from typing import Self

    from model_provisioner.errors import StorageError
    from model_provisioner.fs.folder import Folder
    from model_provisioner.hashing.fingerprint import FingerprintKey
    from model_provisioner.store.layout import Layout

WRITEBACK = 32 << 20
"""After how many bytes the disk begins to write: little is left in memory when the last byte has arrived."""
SYNCED_EVERY = 1 << 30
"""After how many bytes they are synced, and that is noted: a power cut loses that many at the most."""


@dataclass(frozen=True)
class Received(Hashes):
    """What arrived: the digests of the bytes, and how many there are."""

    git_blob: str | None
    """The object id that git gives them (SHA-1 of `blob <size>`, NUL and the bytes); None where their size is not the one
    that was expected, or none was."""
    size: int
    file: tuple[int, int] | None = None
    """Device and inode of the file in the store that has them, None before one has; its bytes are those that arrived."""


class Partial:
    """The growing file of one owner; a context manager that keeps it for the next owner unless it was published."""

    def __init__(
        self,
        folder: Folder,
        name: str,
        fd: int,
        git_size: int | None,
        fingerprints: FingerprintKey | None,
        request: bytes | None,
        ref: str | None,
    ) -> None:
        self.path, self._folder, self._name, self._fd, self._git_size = folder.path_of(name), folder, name, fd, git_size
        self._fingerprints, self._request = fingerprints, None if request is None else request.hex()
        note = Note.read(folder, name)
        self._ref = ref or note.ref
        size = os.fstat(fd).st_size
        if note.boot != boot_id():  # the file may be as long as it was, with nothing in it
            size = min(size, note.synced)
            os.ftruncate(fd, size)
        self._follower = Follower(fd, size, git_size, fingerprints)
        self.validator = note.validator if self.size else None
        """What the server called that version of the resource: a strong ETag or a time of last modification."""
        self.total = note.total if self.size else None
        """How many bytes it said that version has."""
        self._came_for = note.request
        """The request for which a server sent these bytes, or said that they are those that it would send."""
        self._synced = min(size, note.synced)
        """Up to where it is known to be safely on the disk."""
        self._written_back = self.size
        """Up to where the disk has begun to write."""
        self._open = True
        RENEWAL.begin(fd)

    @classmethod
    def open(
        cls,
        store: Layout,
        key: str,
        *,
        git_size: int | None = None,
        fingerprints: FingerprintKey | None = None,
        request: bytes | None = None,
        ref: str | None = None,
    ) -> Partial:
        """Take over what a dead owner left of `key`, or begin; with `git_size`, the size in bytes, git's id is taken too, and
        with `fingerprints` a fingerprint by that key. `request` is noted with what comes for it: see `is_for_request`. So is
        `ref`, the id of what the model is asked for by.

        Of several files that dead owners left the longest is taken and the others are removed. What is of an owner whom our
        locks don't reach is left alone, dead or not. Raises `StorageError`.
        """
        folder = store.folder(PARTIAL)
        stem = stem_of(key)
        try:
            left = sorted(take_over(folder, store.reach, stem), key=lambda each: os.fstat(each[1]).st_size)
            for name, fd in left[:-1]:
                remove(folder, name)
                os.close(fd)
            name, fd = left[-1] if left else begin(folder, store.reach, stem)
        except OSError as error:
            raise store_error("a download can't be begun", folder.path, error) from None
        return cls(folder, name, fd, git_size, fingerprints, request, ref)

    @property
    def size(self) -> int:
        """How many bytes there are, all of one version of the resource."""
        return self._follower.written

    @property
    def is_for_request(self) -> bool:
        """Whether what is here came for this owner's request: with the last byte, that has its answer."""
        return self.size > 0 and self._request is not None and self._came_for == self._request

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, validator: str | None, total: int | None = None) -> None:
        """Say which version of the resource comes, and how many bytes it has, where that is said.

        Bytes of another one are dropped, as they are where none is named.
        """
        self._came_for = self._request
        if self.size and validator is not None and (validator, total) == (self.validator, self.total):
            return
        try:
            other = self.size > 0
            self._restart(0)
            if other:  # nor may a power cut bring the old bytes back under the new name
                os.fsync(self._fd)
            # After the cut: a kill between the two leaves an empty file, never old bytes under the new name.
            Note(validator, boot_id(), 0, total, self._request, self._ref).write(self._folder, self._name)
        except OSError as error:
            raise self._failed(error) from None
        self.validator, self.total = validator, total

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises `StorageError`, and keeps those before then, where the disk is full."""
        try:
            # At its place and not at the end: what a failed or interrupted write left there is written over.
            view, place = memoryview(chunk), self.size
            while view:
                count = os.pwrite(self._fd, view, place)
                view, place = view[count:], place + count
            self._follower.add(chunk)
            if self.size - self._written_back >= WRITEBACK:
                self._start_writeback()
            if self.size - self._synced >= SYNCED_EVERY:
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise self._failed(error) from None

    def clone(self, source: int) -> bool:
        """Let it hold the bytes of an open file, sharing its place on the disk; return whether the file system can."""
        if not clone(source, self._fd):
            return False
        self._restart(os.fstat(self._fd).st_size)
        return True

    def finish(self) -> Received:
        """Return what arrived when its last byte is hashed. Raises `StorageError`."""
        try:
            if os.fstat(self._fd).st_size > self.size:  # what an interrupted write left
                os.ftruncate(self._fd, self.size)
            sha256, fingerprint, git_blob = self._follower.finish()
            if os.fstat(self._fd).st_size < self.size:
                raise OSError("the file became shorter while it was written")  # noqa: TRY301  worded below
        except OSError as error:
            raise self._failed(error) from None
        git_blob = git_blob if self.size == self._git_size else None
        return Received(sha256, fingerprint, git_blob, self.size)

    def seal(self) -> None:
        """Make it read-only, and wait until it is safely on the disk. Raises `OSError`."""
        os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o444)
        os.fsync(self._fd)

    def move(self, folder: Folder, name: str) -> tuple[int, int] | None:
        """Give it its name in the store and close it; return device and inode. None where another took the name since.

        Raises `OSError`.
        """
        RENEWAL.end(self._fd)  # from now on its times say when it was written
        if not self._folder.names_file(self._name, self._fd):
            raise OSError("the file was removed while it was written")
        self._folder.rename(self._name, folder, name)
        with contextlib.suppress(OSError):
            self._folder.unlink(note_name(self._name))
        found = os.fstat(self._fd)
        is_there = folder.names_file(name, self._fd)
        self._close()
        return (found.st_dev, found.st_ino) if is_there else None

    def discard(self) -> None:
        """Remove it and close it."""
        if self._open:
            with contextlib.suppress(OSError):
                remove(self._folder, self._name)
        self._close()

    def close(self) -> None:
        """Close it; the next owner finds what is there."""
        if self._open and not self.size:
            self.discard()
        elif self._open and self.size > self._synced:
            with contextlib.suppress(OSError):
                self._sync()
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._follower.close()
            RENEWAL.end(self._fd)
            os.close(self._fd)
            del self._folder  # else an error that is kept, whose frames refer to this, would keep the folder open

    def _restart(self, size: int) -> None:
        """Keep the first `size` bytes, and hash them anew."""
        self._follower.close()
        os.ftruncate(self._fd, size)
        self._follower = Follower(self._fd, size, self._git_size, self._fingerprints)
        self._written_back = size
        self._synced = min(self._synced, size)

    def _sync(self) -> None:
        """Wait until what is there is safely on the disk, and note it for whoever comes after a power cut."""
        size = self.size
        os.fsync(self._fd)
        Note(self.validator, boot_id(), size, self.total, self._came_for, self._ref).write(self._folder, self._name)
        self._synced = size

    def _start_writeback(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it is but advice
                os.posix_fadvise(self._fd, self._written_back, self.size - self._written_back, os.POSIX_FADV_DONTNEED)
        self._written_back = self.size

    def _failed(self, error: OSError) -> StorageError:
        return store_error("a download could not be written", self.path, error)
