"""Download one file of a model from its source into the store, or wait for another run that does."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model_provisioner.config.entries import accepting
from model_provisioner.errors import DigestMismatchError, FetchError, ProvisionError
from model_provisioner.references.digest import SetDigest
from model_provisioner.references.reference import HubRef, ModelRef, ObjectRef, is_whole
from model_provisioner.store.partial import Partial
from model_provisioner.store.single_flight import single_flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.events import FetchProgress
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.http.client import HttpClient
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.store.partial import Received
    from model_provisioner.store.refs import StoredFile

AT_ONCE = 8
"""How many files this process fetches at a time: one connection seldom fills a line, and many take it from others."""

_turns = BoundedSemaphore(AT_ONCE)
AHEAD = 64 << 20
"""Bytes for which room is made ahead of a file whose size nobody says."""
UNSIZED = 64 << 30
"""Bytes that such a file may have, where the store has no bound."""

_POLL_S = 0.1
"""Seconds after which it is checked again whether the bytes are still wanted."""

_ACCESS: dict[type[ModelRef], str] = {
    HubRef: "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
    ObjectRef: "ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own",
}
"""How to get access where a source says what it has, and does not hand it out."""
_GONE = {
    "RepoNotFound": (
        "the Hub has no such repository any more, or shows it to others only",
        "if it was renamed, correct model_ref; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it",
    ),
    "RevisionNotFound": (
        "the repository does not have the commit any more that was locked or first fetched",
        "`doit model-lock --upgrade NAME` takes what it has now",
    ),
}
"""What a Hub's code for a reason means where it had the file before, and the fix."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is asked of its source."""

    file: RemoteFile
    key: str
    """The key of its download: by its digest, so that two references to the same bytes wait for one another."""
    sha256: str | None
    """The SHA-256 that its bytes must have, where it is known."""
    size: int | None
    is_pinned: bool
    """Whether the user or the lock said so, and not the source alone."""
    before: StoredFile | None = None
    """What came of it before and is still here, where it is to be asked whether the source has something else by now."""

    @property
    def host(self) -> str:
        """Who is asked for it."""
        return urlsplit(self.file.url).hostname or ""


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetches files of one entry into the store; threads may share it."""

    work: Workspace
    entry: Entry
    client: HttpClient
    progress: FetchProgress
    make_room: Callable[[dict[str, int]], None]
    """Is given key and bytes of a file whose size its source did not list, before they come, and again for more; may raise."""

    def fetch(self, wanted: Wanted, check: Callable[[], None]) -> Received | None:
        """Fetch a file, or wait for another run that does; return None where that had it, or it is as it was `before`.

        `check` is called now and then, and raises to give up. Raises `FetchError`, `NotAllowedError`, `DigestMismatchError`
        and `StorageError`.
        """
        store, file = self.work.store, wanted.file

        def wait(arrived: int) -> None:
            check()
            self.progress.reach(wanted.key, arrived, by_another_run=True)

        if self._is_as_before(wanted):
            return None
        with single_flight(store, wanted.key, wait):
            if wanted.sha256 is not None and store.has(wanted.sha256, wanted.size):
                self.progress.reach(wanted.key, wanted.size or 0)
                return None
            git_size = file.size if file.git_blob else None
            key = self.work.memo.fingerprints
            with _turn(check), Partial.open(store, wanted.key, git_size=git_size, fingerprints=key) as partial:
                self._receive(wanted, partial, check)
                received = partial.finish()
                try:
                    self._verify(wanted, received)
                except ProvisionError:
                    partial.discard()
                    raise
                self.work.lease.use([received.sha256])  # before it has a name: from then on others may evict it
                return store.publish(partial, received.sha256)

    def _is_as_before(self, wanted: Wanted) -> bool:
        before, file = wanted.before, wanted.file
        if before is None or before.validator is None:
            return False
        return self.client.is_unchanged(file.url, before.validator, file.all_headers)

    def _receive(self, wanted: Wanted, partial: Partial, check: Callable[[], None]) -> None:
        from model_provisioner.fetchers.http.receive import receive

        room = wanted.size  # for how many bytes there is some; None where nobody said so far how many there are

        def expect(size: int) -> None:
            nonlocal room
            self._check_size(wanted, size)
            if wanted.size is None:  # else what the source listed counts
                self._check_room(wanted.file, size - partial.size)
                self.make_room({wanted.key: size})
                self.progress.expect(wanted.key, size)
                room = size

        def reach(done: int) -> None:
            nonlocal room
            check()
            try:
                self._check_size(wanted, done)
            except FetchError:
                partial.discard()
                raise
            if room is None or done > room:
                room = self._more_room(wanted, done)
            self.progress.reach(wanted.key, done)

        self._check_room(wanted.file, (wanted.size or 0) - partial.size)
        self.progress.reach(wanted.key, partial.size)
        pinned = replace(wanted.file, sha256=wanted.sha256)  # also where the user or the lock says it

        def wait(seconds: float, why: str) -> None:
            self.progress.wait(seconds, why)
            _pause(seconds, check)

        try:
            receive(self.client, pinned, partial, expect=expect, reach=reach, wait=wait)
        except FetchError as error:
            if isinstance(self.entry.ref, HubRef) and error.code in _GONE:
                error.what, error.fix = _GONE[error.code]
            elif (
                isinstance(self.entry.ref, ObjectRef)
                and error.status in {400, 401, 403}
                and error.code not in {"", "AccessDenied"}
            ):
                from model_provisioner.fetchers.s3.errors import storage_error

                told = storage_error(error.status or 0, error.code, where=error.where, anonymous=False, hint="")
                error.what, error.found, error.fix = told.what, told.found, told.fix
            elif error.status in {401, 403}:
                from model_provisioner.fetchers.hub import is_installed

                error.fix = _ACCESS.get(type(self.entry.ref), error.fix)
                if isinstance(self.entry.ref, HubRef) and not is_installed():
                    error.fix = (
                        f"pip install 'model-provisioner[hf]', which tells the Hub who you are; then {error.fix}"
                    )
            raise

    def _verify(self, wanted: Wanted, received: Received) -> None:
        """Raise unless the bytes are those that the source lists and the user or the lock asks for."""
        file = wanted.file
        for said, found, what in (
            (file.size, received.size, "bytes"),
            (file.sha256, received.sha256, "SHA-256"),
            (file.git_blob, received.git_blob, "git blob"),
        ):
            if said not in (None, found):
                raise FetchError(
                    "the bytes that came are not those that the source lists",
                    where=f"{self.entry.ref.id} ({file.name})",
                    expected=f"{said} ({what})",
                    found=str(found),
                    fix="run again: nothing of them was kept; if they are wrong again, tell who runs the server",
                )
        if wanted.is_pinned and wanted.sha256 != received.sha256 and self.entry.strict:
            raise mismatch(self.entry, file, str(wanted.sha256), received.sha256)

    def _check_size(self, wanted: Wanted, size: int) -> None:
        """Raise if a file has so many bytes and has to have fewer: what is larger has another digest, too."""
        if wanted.size is not None and size > wanted.size and wanted.is_pinned and self.entry.strict:
            raise FetchError(
                f"{wanted.file.name} is larger than when it was locked or first fetched",
                where=f"{self.entry.ref.id} at {wanted.host}",
                expected=f"{wanted.size:,} bytes",
                found=f"{size:,} bytes, or more",
                fix=f"if the new bytes are right, {_taking(self.entry)}",
            )

    def _more_room(self, wanted: Wanted, done: int) -> int:
        """Make room for a file of which so many bytes are here, and nobody says how many come; return for how many there is."""
        if self.work.config.max_size is None:
            if done > UNSIZED:
                raise FetchError(
                    f"{wanted.host} does not say how long {wanted.file.name} is, and it is longer than is taken on trust",
                    where=self.entry.ref.id,
                    expected=f"at most {UNSIZED:,} bytes, where cache.max_size says nothing else",
                    found="more",
                    fix="set cache.max_size in models.yaml, which is the bound then; or download the model and name its file",
                )
            return UNSIZED
        ahead = done + max(AHEAD, done // 4)
        try:
            self.make_room({wanted.key: ahead})
        except FetchError:
            self.make_room({wanted.key: done})
            return done
        return ahead

    def _check_room(self, file: RemoteFile, need: int) -> None:
        disk = os.statvfs(self.work.store.root)
        free = disk.f_bavail * disk.f_frsize
        if need > free:
            raise FetchError(
                f"{self.entry.name} does not fit on the disk",
                where=self.work.store.root,
                expected=f"{need:,} bytes for {file.name}",
                found=f"{free:,} bytes",
                fix="free some space there, or point cache_dir to another disk",
            )


@contextmanager
def _turn(check: Callable[[], None]) -> Iterator[None]:
    while not _turns.acquire(timeout=_POLL_S):
        check()
    try:
        yield
    finally:
        _turns.release()


def _pause(seconds: float, check: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(_POLL_S, left))


def _taking(entry: Entry) -> str:
    """Return what a user does to take what a source has now."""
    upgrade = f"run `doit model-lock --upgrade {entry.name}`"
    is_written = entry.expected is not None and not entry.by_lock
    return f"take expected_digest out of models.yaml, then {upgrade}" if is_written else upgrade


def mismatch(entry: Entry, file: RemoteFile, wanted: str, found: str) -> DigestMismatchError:
    """Return the error for a file of an entry that has, or would have, another SHA-256 than is wanted."""
    path = f"{entry.ref.id} ({file.name})" if is_whole(entry.ref) else entry.ref.id
    one = file.name if isinstance(entry.expected, SetDigest) else ""
    remedy = f"ask who runs the source; if what it has now is right, {accepting(entry, f'sha256:{found}', one)}"
    return DigestMismatchError(path, f"sha256:{wanted}", f"sha256:{found}", companion=entry.label, fix=remedy)
