"""Download: the bytes of one file of a model come from its source into the store."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model_provisioner.errors import DigestMismatchError, FetchError
from model_provisioner.references.reference import HubRef, ModelRef, ObjectRef, is_whole
from model_provisioner.store.partial import Partial
from model_provisioner.store.single_flight import flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.fetch_progress import FetchProgress
    from model_provisioner.fetchers.http.https import Https
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.store.partial import Received
    from model_provisioner.store.store import Store

AT_ONCE = 8
"""How many files this process fetches at a time: one connection seldom fills a line, and many take it from others."""

_turns = BoundedSemaphore(AT_ONCE)
_LOOK_S = 0.1
"""Seconds between two looks at whether the bytes are still wanted."""

_ACCESS: dict[type[ModelRef], str] = {
    HubRef: "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
    ObjectRef: "ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own",
}
"""How to get access where a source says what it has, and does not hand it out."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is asked of its source."""

    file: RemoteFile
    sha256: str | None
    """What its bytes must have, where somebody said."""
    size: int | None
    is_held: bool
    """Whether the user or the lock said so, and not the source alone."""

    @property
    def host(self) -> str:
        """Who is asked for it."""
        return urlsplit(self.file.url).hostname or ""

    def key(self, entry: Entry) -> str:
        """Return the key of its download: by its digest, so that two references to the same bytes wait for one another."""
        return self.sha256 or f"{entry.ref.id} {self.file.name} {self.file.git_blob}"


@dataclass(frozen=True, kw_only=True)
class Download:
    """Brings files of one entry into the store; threads may share it."""

    entry: Entry
    store: Store
    https: Https
    progress: FetchProgress
    heard: Callable[[str, int], None]
    """Is given key and bytes of a file whose size its source did not list, before its bytes come; may raise."""
    came: Callable[[Received], None]
    """Is given what arrived, before it is published."""

    def bring(self, wanted: Wanted, check: Callable[[], None]) -> Received | None:
        """Bring a file, or wait for another run that does; return None where that had it.

        `check` is called now and then, and raises to give up. Raises `FetchError`, `NotAllowedError`, `DigestMismatchError`
        and `StorageError`.
        """
        key, sha256 = wanted.key(self.entry), wanted.sha256

        def wait(arrived: int) -> None:
            check()
            self.progress.reach(key, arrived, by_another_run=True)

        with flight(self.store, key, wait):
            if sha256 is not None and self.store.has(sha256, wanted.size):
                self.progress.reach(key, wanted.size or 0)
                return None
            git_size = wanted.file.size if wanted.file.git_blob else None
            with _turn(check), Partial.open(self.store, key, git_size=git_size) as partial:
                received = self._receive(wanted, partial, check)
                self.came(received)
                self.store.publish(partial, received.sha256)
        return received

    def _receive(self, wanted: Wanted, partial: Partial, check: Callable[[], None]) -> Received:
        from model_provisioner.fetchers.http.https import fetch as receive

        file, key = wanted.file, wanted.key(self.entry)
        self._check_room(file, partial)
        self.progress.reach(key, partial.size)

        def reach(count: int) -> None:
            check()
            self.progress.reach(key, count)

        def expect(total: int) -> None:
            if wanted.size is None:  # else what the source listed counts
                self.heard(key, total)
                self.progress.expect(key, total)

        try:
            receive(self.https, file, _Told(partial, reach, expect), sleep=lambda seconds: _pause(seconds, check))
        except FetchError as error:
            if error.status in {401, 403}:
                error.fix = _ACCESS.get(type(self.entry.ref), error.fix)
            raise
        received = partial.finish()
        listed = (
            (file.size, received.size, "bytes"),
            (file.sha256, received.sha256, "SHA-256"),
            (file.git_blob, received.git_blob, "git blob"),
        )
        for said, found, what in listed:
            if said not in (None, found):
                partial.discard()
                raise FetchError(
                    "the bytes that came are not those that the source lists",
                    where=f"{self.entry.ref.id} ({file.name})",
                    expected=f"{said} ({what})",
                    found=str(found),
                    fix="run again: nothing of them was kept; if they are wrong again, tell who runs the server",
                )
        if wanted.is_held and wanted.sha256 != received.sha256 and self.entry.strict:
            partial.discard()
            raise mismatch(self.entry, file, str(wanted.sha256), received.sha256)
        return received

    def _check_room(self, file: RemoteFile, partial: Partial) -> None:
        disk = os.statvfs(self.store.root)
        free, need = disk.f_bavail * disk.f_frsize, (file.size or 0) - partial.size
        if need > free:
            raise FetchError(
                f"{self.entry.name} does not fit on the disk",
                where=self.store.root,
                expected=f"{need:,} bytes for {file.name}",
                found=f"{free:,} bytes",
                fix="free some space there, or point cache_dir to another disk",
            )


class _Told:
    """A partial file that also tells how it grows."""

    def __init__(self, partial: Partial, reach: Callable[[int], None], expect: Callable[[int], None]) -> None:
        self._partial, self._reach, self.expect = partial, reach, expect

    @property
    def size(self) -> int:
        return self._partial.size

    @property
    def validator(self) -> str | None:
        return self._partial.validator

    def begin(self, validator: str | None) -> None:
        self._partial.begin(validator)

    def write(self, chunk: bytes) -> None:
        self._partial.write(chunk)
        self._reach(self.size)


@contextmanager
def _turn(check: Callable[[], None]) -> Iterator[None]:
    while not _turns.acquire(timeout=_LOOK_S):
        check()
    try:
        yield
    finally:
        _turns.release()


def _pause(seconds: float, check: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(_LOOK_S, left))


def mismatch(entry: Entry, file: RemoteFile, wanted: str, found: str) -> DigestMismatchError:
    """Return the error for a file of an entry that has, or would have, another SHA-256 than is wanted."""
    path = f"{entry.ref.id} ({file.name})" if is_whole(entry.ref) else entry.ref.id
    return DigestMismatchError(path, f"sha256:{wanted}", f"sha256:{found}", companion=entry.label)
