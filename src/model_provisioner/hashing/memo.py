"""The digest memo: which bytes a path was seen to hold, so that what did not change is never read again.

Its rows are a cache, in `memo_rows`. Three steps, the first that answers wins:

1. the file's identity (device, inode, size, mtime, ctime) equals a settled row: nothing is read;
2. the size equals the path's last row: every byte is read, and where the fingerprint is that row's, it takes the new identity;
3. else SHA-256, with the fingerprint in the same pass.
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
from model_provisioner.fs.sqlite import Database, ReadOnlyDatabase
from model_provisioner.hashing.memo_rows import MemoRows, Row
from model_provisioner.hashing.streaming import BUFFER, fingerprint, hash_both, open_model, unreadable
from model_provisioner.hashing.threads import available, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

TRIES = 3

How = Literal["stat", "xxh3", "hashed"]


@dataclass(frozen=True)
class FileDigest:
    """The SHA-256 of the bytes that `path` held when its identity was `identity`, and how that is known."""

    path: str
    identity: Identity
    sha256: str
    how: How
    hashed_at: int | None = None
    """When SHA-256 last went over every byte, in seconds since 1970; None where nobody noted it."""


Answer: TypeAlias = "FileDigest | ProvisionError"


@dataclass(frozen=True)
class Reading:
    """The answer for a file, and the row that is new by it; None where nothing was read."""

    digest: FileDigest
    row: Row | None


class Memo(MemoRows):
    """The memo in the state folder `state`. Safe to use from every thread and process of the user.

    With a `ReadOnlyDatabase` it reads files for whoever asks, keeps what it found to itself, and waits for nobody.
    """

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        super().__init__(state, database=database)
        self._state = state
        self._only_looks = issubclass(database, ReadOnlyDatabase)
        self._full: dict[str, FileDigest] = {}
        """What was read in full, by real path."""

    def known(self, path: str) -> FileDigest | None:
        """Return the digest of the file at `path` if it is known without reading it (step 1)."""
        if (now := identity_or_none(path)) is None:
            return None
        row = self.last(path)
        if row is not None and row.settled and row.identity == now:
            return FileDigest(path, now, row.sha256, "stat", row.hashed_at)
        if (row := self.same_file(now)) is not None:
            return FileDigest(path, now, row.sha256, "stat", row.hashed_at)
        return None

    def digest(
        self, path: str, progress: Callable[[int], object] = lambda _: None, *, trust_fingerprint: bool = True
    ) -> FileDigest:
        """Do as `digests`, for one file; raise what keeps it from being read."""
        return _only(self.digests([path], progress, trust_fingerprint=trust_fingerprint))

    def digests(
        self,
        paths: Sequence[str],
        progress: Callable[[int], object] = lambda _: None,
        *,
        trust_fingerprint: bool = True,
    ) -> list[Answer]:
        """Return the digest of every file, in the order of `paths`, reading only those that must be read.

        An error takes the place of a digest that can't be had. Threads and processes that ask for one file at one time
        wait for the first of them. With `trust_fingerprint` off, step 2 is left out.
        """

        def answer(path: str, progress: Callable[[int], object]) -> Reading:
            if (known := self.known(path)) is not None:
                return Reading(known, None)
            return self._read(path, progress, self.last(path) if trust_fingerprint else None)

        answers: dict[str, Answer] = {path: known for path in paths if (known := self.known(path)) is not None}
        if missing := [path for path in dict.fromkeys(paths) if path not in answers]:
            with self._alone_with(missing):
                self.load(missing)
                answers.update(self._read_all(missing, answer, progress))
        return [answers[path] for path in paths]

    def digests_in_full(self, paths: Sequence[str], progress: Callable[[int], object] = lambda _: None) -> list[Answer]:
        """Return the SHA-256 of every byte of every file, in the order of `paths`; the memo is written, not asked.

        An error takes the place of a digest that can't be had. Every byte is read once in the life of this object, as long
        as the file does not move.
        """
        reals = dict(zip(paths, _real_paths(paths), strict=True))

        def answer(path: str, progress: Callable[[int], object]) -> Reading:
            found = self._full.get(reals[path])
            if found is not None and found.identity == identity_or_none(path):
                return Reading(replace(found, path=path), None)
            read = self._read(path, progress, None)
            self._full[reals[path]] = read.digest
            return read

        with self._alone_with(paths):
            answers = self._read_all(list(reals), answer, progress)
            # Bytes that changed without a trace may be known by another name as they were.
            self.disown({each.identity: each.sha256 for each in answers.values() if isinstance(each, FileDigest)})
        return [answers[path] for path in paths]

    def _alone_with(self, paths: Sequence[str]) -> AbstractContextManager[None]:
        if self._only_looks:  # locks are files: they would be left in the state folder
            return contextlib.nullcontext()
        return locked(self._state, "hash", *_lock_keys(paths))

    def _read_all(
        self,
        paths: Sequence[str],
        answer: Callable[[str, Callable[[int], object]], Reading],
        progress: Callable[[int], object],
    ) -> dict[str, Answer]:
        """Return the `answer` for every file. What was read is kept: large files one by one, small ones all at once."""

        def attempt(path: str, check: Callable[[], None]) -> Reading | ProvisionError:
            def told(count: int) -> None:
                check()
                progress(count)

            try:
                return answer(path, told)
            except ProvisionError as error:
                return error

        sizes = {path: size_or_zero(path) for path in paths}
        large = sorted((path for path in paths if sizes[path] > BUFFER), key=sizes.__getitem__, reverse=True)
        answers: dict[str, Answer] = {}
        for path, found in in_threads(attempt, large, available()):
            answers[path] = self._keep([found])[0]
        small = [path for path in paths if sizes[path] <= BUFFER]
        found_small = [attempt(path, lambda: None) for path in small]
        answers.update(zip(small, self._keep(found_small), strict=True))
        return answers

    def same_content(self, path: str, progress: Callable[[int], object] = lambda _: None) -> bool:
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

    def _read(self, path: str, progress: Callable[[int], object], last: Row | None) -> Reading:
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
                return Reading(digest, replace(row, settled=settled))
        raise ChangingModelError(
            "the file keeps changing while it is read",
            where=path,
            expected="a file at rest",
            found=f"other bytes or times after each of {TRIES} readings",
            fix="wait until what writes it has ended, then run again",
        )

    def _keep(self, found: Sequence[Reading | ProvisionError]) -> list[Answer]:
        """Record what was read; return the answers."""
        readings = [each for each in found if isinstance(each, Reading)]
        self.keep({each.digest.path: each.row for each in readings if each.row is not None})
        return [each.digest if isinstance(each, Reading) else each for each in found]


def _confirm(fd: int, now: Identity, last: Row | None, progress: Callable[[int], object]) -> Row | None:
    """Take step 2: the row of `last` under the identity `now`, if the bytes are still the same."""
    if last is None or last.identity.size != now.size or fingerprint(fd, progress) != last.fingerprint:
        return None
    return replace(last, identity=now, settled=False)


def _hash(fd: int, now: Identity, progress: Callable[[int], object]) -> Row:
    """Take step 3."""
    hashes = hash_both(fd, progress)
    return Row(now, hashes.fingerprint, hashes.sha256, settled=False, hashed_at=int(time.time()))


def _only(answers: list[Answer]) -> FileDigest:
    (answer,) = answers
    if isinstance(answer, ProvisionError):
        raise answer
    return answer


def _real_paths(paths: Sequence[str]) -> list[str]:
    """Return the paths without links; files of one folder cost one look at it."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = f"{folders[folder]}/{name}"
        found.append(os.path.realpath(real) if os.path.islink(real) else real)
    return found


def _lock_keys(paths: Sequence[str]) -> set[str]:
    """Return what to lock for the reading of files: a large one itself, for a small one its folder.

    Many small files then cost few locks. Where two readers take one file for different kinds, both read it.
    """
    return {real if size_or_zero(real) > BUFFER else os.path.dirname(real) for real in _real_paths(paths)}


def _settle_pages(fd: int) -> None:
    """Write dirty pages of the file out, so that a later store through an old shared mapping moves its times.

    Without this, a store to a page that is already dirty is seen by no stat call.
    """
    with contextlib.suppress(OSError):  # a read-only file system has no dirty pages
        getattr(os, "fdatasync", os.fsync)(fd)
