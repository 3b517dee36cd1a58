"""The digest memo: the digests of files, without reading again what did not change.

Three steps, the first that answers wins:

1. the file's stat identity (device, inode, size, mtime, ctime) equals a settled row: nothing is read;
2. the size equals the path's last row: every byte is read, and if the fingerprint is equal too, the row takes the new identity;
3. else SHA-256 is computed, with the fingerprint in the same pass.

A power cut undoes none of it: a file is synced before it is read, and a row before anything relies on it.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Literal, TypeAlias

from model_provisioner.errors import ChangingModelError, ProvisionError
from model_provisioner.fs.clock import at_rest, unseen_on
from model_provisioner.fs.identity import Identity, identity, identity_of, identity_or_none, size_or_zero
from model_provisioner.fs.locking.locks import locked
from model_provisioner.fs.paths import real_paths
from model_provisioner.fs.sqlite import Database
from model_provisioner.hashing.fingerprint import load_key
from model_provisioner.hashing.memo_rows import MemoRows, Row
from model_provisioner.hashing.streaming import BUFFER, fingerprint, hash_both, open_model, unreadable
from model_provisioner.hashing.sync import sync, sync_all
from model_provisioner.hashing.threads import core_count, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from model_provisioner.hashing.executors.window import Window
    from model_provisioner.hashing.fingerprint import FingerprintKey
    from model_provisioner.hashing.memo_rows import Ground
    from model_provisioner.hashing.streaming import Progress

TRIES = 3
OWN_LOCKS = 16
"""How many files that are asked for together have locks that hardly any other file has."""

_turns = BoundedSemaphore(core_count())
"""Those of files to be read, whoever reads them: models of many files would else have as many open as there are cores, each."""

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
    read_here: bool = True
    """Whether this machine is known to have read the bytes: a worker's word fails no model."""


Answer: TypeAlias = "FileDigest | ProvisionError"
Reading: TypeAlias = "tuple[FileDigest, Row | None]"
"""The digest of a file, and the row to record; None if nothing was read."""


class Memo(MemoRows):
    """The memo in the state folder `state`. Safe to use from every thread and process of the user.

    Under `recheck` "sha256" nothing counts that a fingerprint confirmed, whoever noted it. With a `ReadOnlyDatabase` it reads
    files, records nothing and takes no lock.
    """

    def __init__(
        self, state: str, recheck: Literal["xxh3", "sha256"] = "xxh3", *, database: type[Database] = Database
    ) -> None:
        super().__init__(state, database=database)
        self._grounds: tuple[Ground, ...] = ("hashed", "said", "xxh3") if recheck == "xxh3" else ("hashed", "said")
        self._in_full: dict[str, FileDigest] = {}
        """The digests that `digests_in_full` took, by real path."""
        self._compared: dict[str, FileDigest | None] = {}
        """The digests of files that `compare` read, by path; None where one could not be read."""

    @cached_property
    def fingerprints(self) -> FingerprintKey:
        """The key of this user's fingerprints."""
        return load_key(self._state, read_only=self._read_only)

    def known(self, path: str) -> FileDigest | None:
        """Return the digest of the file at `path` if it is known without reading it (step 1), or `compare` read it."""
        if (now := identity_or_none(path)) is None:
            return None
        if (compared := self._compared.get(path)) is not None and compared.identity == now:
            return compared
        row = self.last(path)
        if row is None or not row.settled or row.identity != now or row.ground not in self._grounds:
            row = self.same_file(now, self._grounds)
        if row is None or unseen_on(path, now.device) is not None:
            return None
        return FileDigest(path, now, row.sha256, "stat", row.hashed_at, row.ground != "said")

    def doubted(self, path: str) -> FileDigest | None:
        """Return the digest of a file that would be known, but for its file system: bytes may change there without a trace.

        None for others, and once `compare` read it.
        """
        row = self.last(path)
        if row is None or not self.is_ground(row) or path in self._compared:
            return None
        if unseen_on(path, row.identity.device) is None or row.identity != identity_or_none(path):
            return None
        return FileDigest(path, row.identity, row.sha256, "stat", row.hashed_at)

    def compare(self, paths: Sequence[str], progress: Progress = lambda _: None) -> None:
        """Read files that are `doubted`: what they are found to be is known from now on, to this object alone."""
        for path, answer in zip(paths, self.digests(paths, progress), strict=True):
            self._compared[path] = None if isinstance(answer, ProvisionError) else answer

    def digests(
        self, paths: Sequence[str], progress: Progress = lambda _: None, window: Window | None = None
    ) -> list[Answer]:
        """Return the digest of every file, in the order of `paths`, reading only those that must be read.

        An error takes the place of a digest that can't be had. When several threads or processes ask for one file, the first
        reads it and the others wait. With a `window` workers read, by SHA-256; raises `ExecutorError` then.
        """

        def read(path: str, synced: Identity | None, progress: Progress) -> Reading:
            if (known := self.known(path)) is not None:
                return known, None
            row = self.last(path)
            return self._read(path, synced, progress, row if row is not None and self._compares(row) else None)

        answers: dict[str, Answer] = {path: known for path in paths if (known := self.known(path)) is not None}
        if missing := [path for path in dict.fromkeys(paths) if path not in answers]:
            with self._locked(missing):
                self.load_again(missing)
                self.unsettle(missing)
                if window is not None:
                    answers.update(
                        self._elsewhere(window, [path for path in missing if not self.known(path)], progress)
                    )
                answers.update(self._read_all([path for path in missing if path not in answers], read, progress))
        return [answers[path] for path in paths]

    def digests_in_full(
        self, paths: Sequence[str], progress: Progress = lambda _: None, window: Window | None = None
    ) -> list[Answer]:
        """Return the SHA-256 of every byte of every file, in the order of `paths`. Recorded digests are ignored.

        An error takes the place of a digest that can't be had. This object reads a file once, as long as its identity stays.
        With a `window` workers read; without, nothing counts that they said. Raises `ExecutorError`.
        """
        reals = dict(zip(paths, real_paths(paths), strict=True))

        def known(path: str) -> FileDigest | None:
            found = self._in_full.get(reals[path])
            if found is None or found.identity != identity_or_none(path) or not (window or found.read_here):
                return None
            return replace(found, path=path)

        def read(path: str, synced: Identity | None, progress: Progress) -> Reading:
            if (found := known(path)) is not None:
                return found, None
            reading = self._read(path, synced, progress, None)
            self._in_full[reals[path]] = reading[0]
            return reading

        with self._locked(paths):
            self.load_again(reals)
            self.unsettle(reals)
            if window is not None:
                once = {reals[path]: path for path in reals if not known(path)}
                for path, digest in self._elsewhere(window, list(once.values()), progress).items():
                    self._in_full[reals[path]] = digest
            answers = self._read_all(list(reals), read, progress)
            # Bytes that changed without a trace may be recorded under another name as they were.
            self.disown({each.identity: each.sha256 for each in answers.values() if isinstance(each, FileDigest)})
        return [answers[path] for path in paths]

    def same_content(self, path: str, progress: Progress = lambda _: None) -> tuple[bool, How]:
        """Read the file; tell whether it holds what the path's last row says, and by what that is known.

        Nothing is recorded. Raises `UnreadableModelError`.
        """
        row = self.last(path)
        if row is None:
            return False, "hashed"
        if not self.fingerprints.took(row.fingerprint):
            return self._read(path, None, progress, None)[0].sha256 == row.sha256, "hashed"
        fd = open_model(path)
        try:
            return self._confirm(fd, identity(os.fstat(fd)), row, progress) is not None, "xxh3"
        except OSError as error:
            raise unreadable(path, error) from None
        finally:
            os.close(fd)

    def is_ground(self, row: Row) -> bool:
        """Tell whether the digest in a row stands on what counts here."""
        return row.ground in self._grounds

    def _compares(self, row: Row) -> bool:
        """Tell whether a file may be confirmed by the fingerprint in a row."""
        return "xxh3" in self._grounds and self.fingerprints.took(row.fingerprint)

    def _locked(self, paths: Sequence[str]) -> AbstractContextManager[None]:
        """Keep other threads and processes from reading these files."""
        if self._read_only:  # locks are files: they would be left in the state folder
            return contextlib.nullcontext()
        # A large file has its own lock; small ones share their folder's: many of them cost few locks.
        keys = {real if size_or_zero(real) > BUFFER else os.path.dirname(real) for real in real_paths(paths)}
        # Among 256 locks, two of sixteen files that are read at a time have the same in one case of three, and one of the two
        # then waits until all of the other is read. Many files at once may not have as many locks open.
        return locked(self._state, "hash", *keys, size=2 if len(keys) <= OWN_LOCKS else 1)

    def _elsewhere(self, window: Window, paths: Sequence[str], progress: Progress) -> dict[str, FileDigest]:
        """Let workers read files, and record what they say as they do; return it, as far as it counts."""
        from model_provisioner.hashing.elsewhere import hash_elsewhere

        found: dict[str, FileDigest] = {}
        for rows in hash_elsewhere(window, paths, progress):
            self.keep(rows)
            for path, row in rows.items():
                found[path] = FileDigest(path, row.identity, row.sha256, "hashed", row.hashed_at, read_here=False)
        return found

    def _read_all(
        self,
        paths: Sequence[str],
        read: Callable[[str, Identity | None, Progress], Reading],
        progress: Progress,
    ) -> dict[str, Answer]:
        """Read files and record what is new: large ones in threads, each as it is done, small ones all at once."""

        def attempt(path: str, check: Callable[[], None], synced: Identity | None = None) -> Reading | ProvisionError:
            def checked(count: int) -> None:
                check()
                progress(count)

            try:
                with _turns:
                    check()
                    return read(path, synced, checked)
            except ProvisionError as error:
                return error

        sizes = {path: size_or_zero(path) for path in paths}
        large = sorted((path for path in paths if sizes[path] > BUFFER), key=sizes.__getitem__, reverse=True)
        answers: dict[str, Answer] = {}
        for path, found in in_threads(attempt, large, core_count()):
            answers[path] = self._record([found])[0]
        small = [path for path in paths if sizes[path] <= BUFFER]
        synced = sync_all(small, progress)
        readings = [
            then if isinstance(then := synced[path], ProvisionError) else attempt(path, lambda: None, then)
            for path in small
        ]
        answers.update(zip(small, self._record(readings), strict=True))
        return answers

    def _record(self, found: Sequence[Reading | ProvisionError]) -> list[Answer]:
        """Record what was read; return the answers."""
        readings = [each for each in found if not isinstance(each, ProvisionError)]
        self.keep({digest.path: row for digest, row in readings if row is not None})
        return [each if isinstance(each, ProvisionError) else each[0] for each in found]

    def _read(self, path: str, synced: Identity | None, progress: Progress, last: Row | None) -> Reading:
        """Take step 2, if `last` is given, else step 3, of a file that was `synced` as this identity says, if at all.

        Raises `ChangingModelError` and `UnreadableModelError`.
        """
        for _ in range(TRIES):
            fd = open_model(path)
            try:
                before = identity(os.fstat(fd))
                if before != synced:
                    sync(fd)
                    before = identity(os.fstat(fd))
                settled = at_rest(path, before)
                confirmed = self._confirm(fd, before, last, progress)
                row = confirmed or self._hash(fd, before, progress)
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

    def _confirm(self, fd: int, now: Identity, last: Row | None, progress: Progress) -> Row | None:
        """Take step 2: return the `last` row with the identity `now`, if the bytes are still the same."""
        if last is None or last.identity.size != now.size:
            return None
        if fingerprint(fd, self.fingerprints, progress) != last.fingerprint:
            return None
        return replace(last, identity=now, ground="xxh3", settled=False)

    def _hash(self, fd: int, now: Identity, progress: Progress) -> Row:
        """Take step 3."""
        hashes = hash_both(fd, self.fingerprints, progress)
        return Row(now, hashes.fingerprint, hashes.sha256, "hashed", settled=False, hashed_at=int(time.time()))
