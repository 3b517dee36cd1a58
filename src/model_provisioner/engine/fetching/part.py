"""Fetch the files of one part of an entry, its model or a companion: from the store, from other programs, from the source."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.engine.events import FetchWaits, fetching
from model_provisioner.engine.fetching.copies import Copies
from model_provisioner.engine.fetching.download import AT_ONCE, Download
from model_provisioner.engine.fetching.provenance import note_digests, note_origin
from model_provisioner.engine.fetching.refusals import mismatch
from model_provisioner.engine.fetching.wanted import downloaded
from model_provisioner.engine.resolve import check_opened, not_locked, record_keys
from model_provisioner.errors import FetchError, NotAllowedError
from model_provisioner.fetchers.listing import SECONDS, Listing, RemoteFile, name_of
from model_provisioner.fetchers.patience import LONGEST
from model_provisioner.fetchers.sources import source_of
from model_provisioner.hashing.threads import in_pools, left_behind
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.reference import HubRef, is_whole
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.tree import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.fetching.wanted import Requests, Wanted
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.arriving.partial import Received


@dataclass(frozen=True)
class Known:
    """What is known of a file before anybody is asked."""

    sha256: str
    size: int | None


def known_files(entry: Entry, record: Record | None) -> dict[str, Known]:
    """Return the files of an entry as far as the lock, the expected digest or the last fetch name them, by name."""
    if entry.locked is not None:
        return {file.name: Known(file.sha256, file.size) for file in entry.locked.files}
    if isinstance(entry.expected, SetDigest):
        return {name: Known(digest.value, None) for name, digest in entry.expected.files}
    if isinstance(entry.expected, Digest) and entry.expected.algo == "sha256" and (name := name_of(entry.ref)):
        return {name: Known(entry.expected.value, None)}
    return {} if record is None else {file.name: Known(file.sha256, file.size) for file in record.files}


@dataclass
class PartFetch:
    """One fetch of the model or of a companion of an entry."""

    work: Workspace
    record: EntryRun
    part: Entry
    requests: Requests
    check: Callable[[], None]
    """Is called now and then, and raises to give up."""
    last: Record | None = None
    """What the reference resolved to when it was last fetched, where that is to come."""
    known: Mapping[str, Known] = field(default_factory=dict)
    """The files that are to come, by name, as far as they are known."""
    asked: set[str] = field(default_factory=set)
    """The SHA-256 of the files that the mirrors were asked for before the source."""
    received: list[Received] = field(default_factory=list)
    given: list[tuple[str, bytes | None]] = field(default_factory=list)
    """What the source gave this run, or another one of this user: the SHA-256 of each file, and what was requested."""
    expected: dict[str, int] = field(default_factory=dict)
    """For how many bytes room is kept, by the key of the file."""

    def run(self) -> None:
        """Fetch every file, give them their names, and record what the reference resolved to."""
        work, part, store = self.work, self.part, self.work.store
        if work.rules.locked and part.locked is None:
            raise not_locked(work, part)
        revision = part.locked.revision if part.locked else self.last.revision if self.last else None
        if self.known:
            check_opened(part, self.known)
        work.lease.use(file.sha256 for file in self.known.values())
        try:
            known = self.known.items()
            digests = {name: file.sha256 for name, file in known if self._is_here(name, file.sha256, file.size)}
            listing = None
            if self._is_recorded:
                digests |= self._from_mirrors(digests)
            if not digests or digests.keys() != self.known.keys():
                listing, digests = self._from_source(revision, digests)
                revision = revision if listing is None else listing.revision
            if not self.received and not self.record.origin:
                self._from("found in the store")
        finally:
            self._release_room(list(self.expected))
            work.counters.add_fetched(sum(each.size for each in self.received))
        tree = store.make_tree(part.ref.id, digests, folder=is_whole(part.ref))
        note_digests(work, self.received)
        if listing is not None:
            note_origin(work, part.ref.id, listing, tree, digests, [sha256 for sha256, _ in self.given])
        files = tuple(
            StoredFile(name=name, size=os.path.getsize(store.blob_path(sha256)), sha256=sha256)
            for name, sha256 in sorted(digests.items())
        )
        key = record_keys(part.ref, part.include, part.exclude)[0]
        store.record(Record(ref=key, revision=revision, files=files, tree=tree))
        if requests := [request for _, request in self.given if request is not None]:
            work.downloads.note_recorded(requests)

    def _from_mirrors(self, here: Mapping[str, str]) -> dict[str, str]:
        """Ask the mirrors for the files that are known and not `here`; return the SHA-256 of those that came, by name."""
        wanted = [
            self.requests.wanted(
                RemoteFile(name=name, url="", size=file.size, sha256=file.sha256),
                file.sha256,
                file.sha256,
                file.size,
                is_pinned=True,
                by_digest=True,
            )
            for name, file in self.known.items()
            if name not in here and self.work.mirrors.live
        ]
        self.asked.update(file.key for file in wanted)
        return self._download(wanted, with_source=False)

    def _from_source(self, revision: str | None, here: dict[str, str]) -> tuple[Listing | None, dict[str, str]]:
        """Ask the source which files there are, and fetch them; return its listing, and the SHA-256 of each file, by name.

        Where it does not say, and the digests that are expected name all files, the mirrors are asked for these.
        """
        try:
            listing = self.listing(revision)
        except (FetchError, NotAllowedError) as error:
            found = {} if self._is_recorded else here | self._from_mirrors(here)
            if not found or found.keys() != self.known.keys():
                if self.asked:
                    self.work.mirrors.mention_in(error)
                raise
            return None, found
        return listing, self._fetch_all(listing)

    def listing(self, revision: str | None) -> Listing:
        """Return which files there are, of names that can be used and that the engine can open."""
        found = left_behind(partial(self._ask, revision), self._until(SECONDS + LONGEST))
        names = [file.name for file in found.files]
        check_names(names, self.part.ref.id)  # before the long work
        check_opened(self.part, names)
        return found

    def _ask(self, revision: str | None) -> Listing:
        """Ask the source which files there are, or where those are that are known."""
        source = source_of(self.part, self._check_host, self._wait)
        return source.at(revision, sorted(self.known)) if self._is_pinned(revision) else source.listing()

    def _wait(self, seconds: float, why: str) -> None:
        self.work.progress(FetchWaits(self.part.name, seconds, why))
        time.sleep(seconds)

    def _until(self, seconds: float) -> Callable[[], None]:
        """Return a check that also raises `FetchError` once so many seconds are over."""
        end = time.monotonic() + seconds

        def check() -> None:
            self.check()
            if time.monotonic() > end:
                raise FetchError(
                    f"the source does not say in time what {self.part.name} is",
                    where=self.part.ref.id,
                    expected=f"a listing within {seconds / 60:.0f} minutes, those among them that it asked us to wait",
                    found="no whole listing by then",
                    fix="try again later, or download the model and point model_ref at the file",
                )

        return check

    def _is_pinned(self, revision: str | None) -> bool:
        """Tell whether the files need not be asked for: lock or record name them and the commit that they are of."""
        return self._is_recorded and (revision is not None or not isinstance(self.part.ref, HubRef))

    @property
    def _is_recorded(self) -> bool:
        """Whether the lock or the record of the last fetch names the files: then their source need not say what they are."""
        return bool(self.known) and (self.part.locked is not None or self.last is not None)

    def _is_here(self, name: str, sha256: str, size: int | None) -> bool:
        """Tell whether a file is in the store, or could be taken from another program."""
        if self.work.store.has(sha256, size):
            return True
        origin = self._copies.take(sha256, size, name)
        if origin is not None:
            self._from(origin)
        return origin is not None

    @cached_property
    def _copies(self) -> Copies:
        return Copies(self.work, self.part.name, self._make_room, self._release_room)

    def _check_host(self, host: str) -> None:
        config, work = self.work.config, self.work
        NetworkPolicy(config.allow, work.offline, config.path, work.hosts).check(host, self.part.name, self.part.line)

    def _fetch_all(self, listing: Listing) -> dict[str, str]:
        """Fetch the files that are not here; return the SHA-256 of each, by name."""
        work, files, expected = self.work, listing.files, self.part.expected
        if not self.known and len(files) == 1 and isinstance(expected, Digest) and expected.algo == "sha256":
            self.known = {files[0].name: Known(expected.value, None)}  # of an artifact only the listing tells its name
        wanted = [self._wanted(file, listing.revision) for file in files]
        work.lease.use(each.sha256 for each in wanted if each.sha256 is not None)
        digests: dict[str, str] = {}
        for each in wanted:
            if each.sha256 is not None:
                if self._is_here(each.file.name, each.sha256, each.size):
                    digests[each.file.name] = each.sha256
            elif (found := downloaded(work, each)) is not None and each.is_met_by(found):
                digests[each.file.name] = found.sha256
                self.given.append((found.sha256, each.request))
        left = [each for each in wanted if each.file.name not in digests]
        for each in left:
            if not (each.by_digest and work.mirrors.live):
                self._check_host(each.host)
        return digests | self._download(left, with_source=True)

    def _download(self, wanted: Sequence[Wanted], *, with_source: bool) -> dict[str, str]:
        """Download files, from the mirrors or `with_source`; return the SHA-256 of those that came, by name."""
        digests: dict[str, str] = {}
        if not wanted:
            return digests
        from model_provisioner.engine.fetching.places import Places

        work, part = self.work, self.part
        sizes = {each.key: each.size for each in wanted}
        known = {key: size for key, size in sizes.items() if size is not None}
        self._make_room(known)
        size = sum(known.values()) if len(known) == len(sizes) else None
        with (
            Places(work, self._check_host, with_source=with_source) as places,
            fetching(work.progress, part.name, size, places.first(wanted[0])) as progress,
        ):
            download = Download(
                work=work,
                entry=part,
                places=places,
                progress=progress,
                make_room=self._make_room,
                copies=self._copies,
            )
            for each, arrived in in_pools([(download.fetch, wanted, AT_ONCE)], places.close, self.check):
                if arrived is None:
                    continue
                if arrived.received is not None:
                    self.received.append(arrived.received)
                if arrived.by_source or each.request is not None:
                    self.given.append((arrived.sha256, each.request))
                digests[each.file.name] = arrived.sha256
                self._release_room([each.key])
                self._from(arrived.origin)
        return digests

    def _wanted(self, file: RemoteFile, revision: str | None) -> Wanted:
        """Return what a file must be, by what was known of it beforehand and by what its source says of a revision."""
        known = self.known.get(file.name)
        if known is not None and file.sha256 not in (None, known.sha256):
            if self.part.strict:  # the source says beforehand that its bytes are others
                raise mismatch(self.part, file, known.sha256, str(file.sha256))
            known = None
        sha256 = file.sha256 if known is None else known.sha256
        size = file.size if known is None or known.size is None else known.size
        key = sha256 or f"{self.part.ref.id} {file.name} {file.git_blob}"
        # That a revision has these bytes, which a lock would say, is known if it was listed, recorded or comes from there.
        listed = self._is_recorded or revision is None or file.sha256 is not None
        is_pinned, by_digest = known is not None, listed and key not in self.asked
        return self.requests.wanted(file, key, sha256, size, is_pinned=is_pinned, by_digest=by_digest)

    def _make_room(self, sizes: dict[str, int]) -> None:
        """Keep room in the store for files, by the key of their download, as far as that is not kept already."""
        new = {key: size for key, size in sizes.items() if size > self.expected.get(key, -1)}
        if new and self.work.config.max_size is not None:
            from model_provisioner.engine.retention.eviction import make_room

            self.record.evicted += make_room(self.work, self.part.name, new)
            self.expected.update(new)

    def _release_room(self, keys: Sequence[str]) -> None:
        self.work.lease.expect_no_more(keys)
        for key in keys:
            self.expected.pop(key, None)

    def _from(self, origin: str) -> None:
        """Note where a file came from; of many files each place once."""
        noted = [each for each in self.record.origin.split(", ") if each]
        if origin not in noted:
            self.record.origin = ", ".join((*noted, origin))
