"""Download one file of a model from its source into the store, or wait for another run that does."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from model_provisioner.engine.fetching.refusals import larger, mismatch, reword, wrong_at_mirror
from model_provisioner.engine.fetching.wanted import Arrived, downloaded
from model_provisioner.errors import FetchError, ProvisionError
from model_provisioner.records.catalog.downloads import Downloaded
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.single_flight import single_flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.events import FetchProgress
    from model_provisioner.engine.fetching.copies import Copies
    from model_provisioner.engine.fetching.places import Place, Places
    from model_provisioner.engine.fetching.wanted import Wanted
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.records.catalog.downloads import NotedDownload
    from model_provisioner.store.arriving.partial import Received

AT_ONCE = 8
"""How many files this process fetches at a time: one connection seldom fills a line, and many take it from others."""

_turns = BoundedSemaphore(AT_ONCE)
AHEAD = 64 << 20
"""Bytes for which room is made ahead of a file whose size nobody says."""
UNSIZED = 64 << 30
"""Bytes that such a file may have, where the store has no bound."""

_POLL_S = 0.1
"""Seconds after which it is checked again whether the bytes are still wanted."""


class _CopyTaken(BaseException):
    """Ends a download whose bytes another program has on this disk; says which."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetches files of one entry into the store; threads may share it."""

    work: Workspace
    entry: Entry
    places: Places
    progress: FetchProgress
    make_room: Callable[[dict[str, int]], None]
    """Is given key and bytes of a file whose size its source did not list, before they come, and again for more; may raise."""
    copies: Copies

    def fetch(self, wanted: Wanted, check: Callable[[], None]) -> Arrived | None:
        """Fetch a file, or wait for another run that does and take what that had; return None where no place has it.

        `check` is called now and then, and raises to give up. Raises what the source failed with: `FetchError`,
        `NotAllowedError` or `DigestMismatchError`; and `StorageError`.
        """
        store, file = self.work.store, wanted.file

        def wait(arrived: int) -> None:
            check()
            self.progress.reach(wanted.key, arrived, by_another_run=True)

        with single_flight(store, wanted.key, wait):
            before = downloaded(self.work, wanted)
            if (here := self._here(wanted, before)) is not None:
                self.progress.reach(wanted.key, wanted.size or 0)
                return Arrived(sha256=here, origin=f"fetched from {wanted.host or 'a mirror'}")
            with (
                _turn(check),
                Partial.open(
                    store,
                    wanted.key,
                    git_size=file.size if file.git_blob else None,
                    fingerprints=self.work.memo.fingerprints,
                    request=None if wanted.anew else wanted.request,
                    ref=self.entry.ref.id,
                ) as partial,
            ):
                self._check_room(wanted.file, (wanted.size or 0) - partial.size)
                for place in self.places.of(wanted):
                    try:
                        return self._bring(place, wanted, partial, before, check)
                    except _CopyTaken as taken:
                        partial.discard()
                        return Arrived(sha256=str(wanted.sha256), origin=str(taken))
                    except ProvisionError as error:
                        self.places.failed(place, wanted, error)
        return None

    def _bring(
        self,
        place: Place,
        wanted: Wanted,
        partial: Partial,
        before: NotedDownload | None,
        check: Callable[[], None],
    ) -> Arrived:
        """Bring a file from one place into the store."""
        resumed = partial.size > 0
        is_new = self._receive(place, wanted, partial, before, check)
        if not is_new and before is not None and wanted.request is not None:
            self.work.downloads.note(wanted.request, before)  # for those who wait for it
            return Arrived(sha256=before.sha256, origin=f"unchanged at {wanted.host}", by_source=True)
        received = partial.finish()
        try:
            self._verify(place, wanted, received)
        except ProvisionError:
            partial.begin(None)
            if resumed and wanted.sha256 is not None:  # its beginning came from elsewhere, and may be what is wrong
                return self._bring(place, wanted, partial, before, check)
            raise
        self.work.lease.use([received.sha256])  # before it has a name: from then on others may evict it
        if wanted.request is not None:  # nor would a run after a kill know by its name what it is
            found = Downloaded(received.sha256, received.size, partial.validator)
            self.work.downloads.note(wanted.request, found)
        received = self.work.store.publish(partial, received.sha256)
        return Arrived(
            sha256=received.sha256,
            origin=f"fetched from {place.named(wanted)}",
            received=received,
            by_source=place.mirror is None,
        )

    def _here(self, wanted: Wanted, before: NotedDownload | None) -> str | None:
        """Return the SHA-256 of the file if it is in the store."""
        if wanted.sha256 is None:
            return before.sha256 if before is not None and wanted.is_met_by(before) else None
        return wanted.sha256 if self.work.store.has(wanted.sha256, wanted.size) else None

    def _receive(
        self,
        place: Place,
        wanted: Wanted,
        partial: Partial,
        before: NotedDownload | None,
        check: Callable[[], None],
    ) -> bool:
        """Receive the bytes of a file; return False if the server still has the version that came `before`."""
        from model_provisioner.fetchers.http.begun import Begun
        from model_provisioner.fetchers.http.receive import receive

        room = wanted.size  # for how many bytes there is some; None where nobody said so far how many there are

        def expect(size: int) -> None:
            nonlocal room
            self._check_size(place, wanted, size)
            if wanted.size is None:  # else what the source listed counts
                self._look_for_copy(wanted, size)
                self._check_room(wanted.file, size - partial.size)
                self.make_room({wanted.key: size})
                self.progress.expect(wanted.key, size)
                room = size

        def reach(done: int) -> None:
            nonlocal room
            check()
            try:
                self._check_size(place, wanted, done)
            except FetchError:
                partial.begin(None)
                raise
            if room is None or done > room:
                try:
                    room = self._more_room(place, wanted, done)
                except FetchError:
                    if place.mirror is not None:  # the next place may have fewer bytes, for which there is room
                        partial.begin(None)
                    raise
            self.progress.reach(wanted.key, done)

        self.progress.reach(wanted.key, partial.size)
        pinned = replace(place.find(wanted), sha256=wanted.sha256)  # also where the user or the lock says it

        def wait(seconds: float, why: str) -> None:
            self.progress.wait(seconds, why)
            _pause(seconds, check)

        whole = None
        if before is not None and before.validator is not None:
            whole = Begun(size=before.size, validator=before.validator, total=before.size)
        try:
            return receive(
                place.client,
                pinned,
                partial,
                before=whole,
                expect=expect,
                reach=reach,
                wait=wait,
                terms=place.client.terms,
            )
        except FetchError as error:
            if place.mirror is None:
                reword(error, self.entry.ref)
            raise

    def _look_for_copy(self, wanted: Wanted, size: int) -> None:
        """Raise `_CopyTaken` where another program has a file that could not be looked for without its size."""
        if wanted.sha256 is not None:
            taken = self.copies.take(wanted.sha256, size, wanted.file.name, self.progress)
            if taken is not None:
                raise _CopyTaken(taken)

    def _verify(self, place: Place, wanted: Wanted, received: Received) -> None:
        """Raise unless the bytes are those that the source lists and the user or the lock asks for."""
        file = wanted.file
        if place.mirror is not None and received.sha256 != wanted.sha256:
            raise wrong_at_mirror(place.mirror, file, str(wanted.sha256), received.sha256)
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

    def _check_size(self, place: Place, wanted: Wanted, size: int) -> None:
        """Raise if a file has so many bytes and has to have fewer: what is larger has another digest, too."""
        if wanted.size is not None and size > wanted.size and wanted.is_pinned and self.entry.strict:
            raise larger(self.entry, wanted.file, place.named(wanted), wanted.size, size)

    def _more_room(self, place: Place, wanted: Wanted, done: int) -> int:
        """Make room for a file of which so many bytes are here, and nobody says how many come; return for how many there is."""
        if self.work.config.max_size is None:
            if done > UNSIZED:
                host, name = place.named(wanted), wanted.file.name
                raise FetchError(
                    f"{host} does not say how long {name} is, and it is longer than is taken on trust",
                    where=self.entry.ref.id,
                    expected=f"at most {UNSIZED:,} bytes, where cache.max_size says nothing else",
                    found="more",
                    fix="set cache.max_size in models.yaml, which is the bound then; or download the model and name its file",
                )
            step = min(AHEAD, max(done, 1 << 20))
            self._check_room(wanted.file, 2 * step)  # what has no end must not fill the disk
            return done + step
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
