"""The digest memo: the digests of files, without reading again what did not change.

Three steps, the first that answers wins:

1. the file's stat identity (device, inode, size, mtime, ctime) equals a settled row: nothing is read;
2. the size equals the path's last row: every byte is read, and if the fingerprint is equal too, the row takes the new identity;
3. else SHA-256 is computed, with the fingerprint in the same pass.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from model_provisioner.errors import ChangingModelError, ProvisionError
from model_provisioner.fs.clock import at_rest
from model_provisioner.fs.identity import Identity, identity, identity_of, identity_or_none, size_or_zero
from model_provisioner.fs.locks import locked
from model_provisioner.fs.sqlite import Database
from model_provisioner.hashing.memo_rows import MemoRows, Row
from model_provisioner.hashing.streaming import BUFFER, fingerprint, hash_both, open_model, unreadable
from model_provisioner.hashing.threads import core_count, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from model_provisioner.hashing.streaming import Progress

TRIES = 3

How = Literal["stat", "xxh3", "hashed"]
"""The step that answered."""


@dataclass(frozen=True)
class FileDigest:
    """The SHA-256 of the bytes that `path` held when its identity was `identity`, and how that is known."""

    path: str
    identity: Identity
    sha256: str
    how: How
    hashed_at: int | None = None
    """When SHA-256 last went over every byte, in seconds since 1970; None where that was not recorded."""


Answer: TypeAlias = "FileDigest | ProvisionError"
Reading: TypeAlias = "tuple[FileDigest, Row | None]"
"""The digest of a file, and the row to record; None if nothing was read."""


class Memo(MemoRows):
    """The memo in the state folder `state`. Safe to use from every thread and process of the user.

    With a `ReadOnlyDatabase` it reads files, records nothing and takes no lock.
    """

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        super().__init__(state, database=database)
        self._in_full: dict[str, FileDigest] = {}
        """The digests that `digests_in_full` took, by real path."""

    def known(self, path: str) -> FileDigest | None:
        """Return the digest of the file at `path` if it is known without reading it (step 1)."""
        if (now := identity_or_none(path)) is None:
            return None
        row = self.last(path)
        if row is None or not row.settled or row.identity != now:
            row = self.same_file(now)
        return None if row is None else FileDigest(path, now, row.sha256, "stat", row.hashed_at)

    def digests(
        self, paths: Sequence[str], progress: Progress = lambda _: None, *, trust_fingerprint: bool = True
    ) -> list[Answer]:
        """Return the digest of every file, in the order of `paths`, reading only those that must be read.

        An error takes the place of a digest that can't be had. When several threads or processes ask for one file, the first
        reads it and the others wait. Without `trust_fingerprint`, step 2 is left out.
        """

        def read(path: str, progress: Progress) -> Reading:
            if (known := self.known(path)) is not None:
                return known, None
            return self._read(path, progress, self.last(path) if trust_fingerprint else None)

        answers: dict[str, Answer] = {path: known for path in paths if (known := self.known(path)) is not None}
        if missing := [path for path in dict.fromkeys(paths) if path not in answers]:
            with self._locked(missing):
                self.load(missing)
                answers.update(self._read_all(missing, read, progress))
        return [answers[path] for path in paths]

    def digests_in_full(self, paths: Sequence[str], progress: Progress = lambda _: None) -> list[Answer]:
        """Return the SHA-256 of every byte of every file, in the order of `paths`. Recorded digests are ignored.

        An error takes the place of a digest that can't be had. This object reads a file once, as long as its identity stays.
        """
        reals = dict(zip(paths, _real_paths(paths), strict=True))

        def read(path: str, progress: Progress) -> Reading:
            found = self._in_full.get(reals[path])
            if found is not None and found.identity == identity_or_none(path):
                return replace(found, path=path), None
            reading = self._read(path, progress, None)
            self._in_full[reals[path]] = reading[0]
            return reading

        with self._locked(paths):
            answers = self._read_all(list(reals), read, progress)
            # Bytes that changed without a trace may be recorded under another name as they were.
            self.disown({each.identity: each.sha256 for each in answers.values() if isinstance(each, FileDigest)})
        return [answers[path] for path in paths]

    def same_content(self, path: str, progress: Progress = lambda _: None) -> bool:
        """Read the file and tell whether its fingerprint is that of the path's last row. Nothing is recorded."""
        row = self.last(path)
        if row is None:
            return False
        fd = open_model(path)
        try:
            return os.fstat(fd).st_size == row.identity.size and fingerprint(fd, progress) == row.fingerprint
        except OSError as error:
            raise unreadable(path, error) from None
        finally:
            os.close(fd)

    def _locked(self, paths: Sequence[str]) -> AbstractContextManager[None]:
        """Keep other threads and processes from reading these files."""
        if self._read_only:  # locks are files: they would be left in the state folder
            return contextlib.nullcontext()
        # A large file has its own lock; small ones share their folder's: many of them cost few locks.
        keys = {real if size_or_zero(real) > BUFFER else os.path.dirname(real) for real in _real_paths(paths)}
        return locked(self._state, "hash", *keys)

    def _read_all(
        self, paths: Sequence[str], read: Callable[[str, Progress], Reading], progress: Progress
    ) -> dict[str, Answer]:
        """Read files and record what is new: large ones in threads, each as it is done, small ones all at once."""

        def attempt(path: str, check: Callable[[], None]) -> Reading | ProvisionError:
            def checked(count: int) -> None:
                check()
                progress(count)

            try:
                return read(path, checked)
            except ProvisionError as error:
                return error

        sizes = {path: size_or_zero(path) for path in paths}
        large = sorted((path for path in paths if sizes[path] > BUFFER), key=sizes.__getitem__, reverse=True)
        answers: dict[str, Answer] = {}
        for path, found in in_threads(attempt, large, core_count()):
            answers[path] = self._record([found])[0]
        small = [path for path in paths if sizes[path] <= BUFFER]
        answers.update(zip(small, self._record([attempt(path, lambda: None) for path in small]), strict=True))
        return answers

    def _record(self, found: Sequence[Reading | ProvisionError]) -> list[Answer]:
        """Record what was read; return the answers."""
        readings = [each for each in found if not isinstance(each, ProvisionError)]
        self.keep({digest.path: row for digest, row in readings if row is not None})
        return [each if isinstance(each, ProvisionError) else each[0] for each in found]

    def _read(self, path: str, progress: Progress, last: Row | None) -> Reading:
        """Take step 2, if `last` is given, else step 3. Raises `ChangingModelError` and `UnreadableModelError`."""
        for _ in range(TRIES):
            fd = open_model(path)
            try:
                _settle_pages(fd)
                before = identity(os.fstat(fd))
                settled = at_rest(path, before)
                confirmed = _confirm(fd, before, last, progress)
                row = confirmed or _hash(fd, before, progress)
                unmoved = before == identity(os.fstat(fd)) == identity_of(path)
            except OSError as error:
                raise unreadable(path, error) from None
            finally:
                os.close(fd)
            if unmoved:
                digest = FileDigest(path, before, row.sha256, "xxh3" if confirmed else "hashed", row.hashed_at)
                return digest, replace(row, settled=settled)
        raise ChangingModelError(
            "the file keeps changing while it is read",
            where=path,
            expected="a file at rest",
            found=f"other bytes or times after each of {TRIES} readings",
            fix="wait until what writes it has ended, then run again",
        )


def _confirm(fd: int, now: Identity, last: Row | None, progress: Progress) -> Row | None:
    """Take step 2: return the `last` row with the identity `now`, if the bytes are still the same."""
    if last is None or last.identity.size != now.size or fingerprint(fd, progress) != last.fingerprint:
        return None
    return replace(last, identity=now, settled=False)


def _hash(fd: int, now: Identity, progress: Progress) -> Row:
    """Take step 3."""
    hashes = hash_both(fd, progress)
    return Row(now, hashes.fingerprint, hashes.sha256, settled=False, hashed_at=int(time.time()))


def _real_paths(paths: Sequence[str]) -> list[str]:
    """Return the paths without symbolic links; each folder is resolved once."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = f"{folders[folder]}/{name}"
        found.append(os.path.realpath(real) if os.path.islink(real) else real)
    return found


def _settle_pages(fd: int) -> None:
    """Flush dirty pages of the file, so that a later store through an old shared mapping changes its times.

    Without this, no stat call shows a store to a page that is already dirty.
    """
    with contextlib.suppress(OSError):  # a read-only file system has no dirty pages
        getattr(os, "fdatasync", os.fsync)(fd)
