"""Fetch: bring a remote reference into the store, if the policy allows. Offline by default.

What is on this disk already is not fetched: in the store, or with the right digest in the cache of another program.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.config.network_policy import NetworkPolicy, offline_reason
from model_provisioner.engine.download import AT_ONCE, Download, Wanted, mismatch
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.fetch_progress import fetching
from model_provisioner.engine.resolve import not_locked, record_key, resolve_entry, stored_files
from model_provisioner.engine.withdraw import fail, pend
from model_provisioner.errors import ProvisionError
from model_provisioner.fetchers.sources import name_of, source_of
from model_provisioner.fs.clock import TICK_NS
from model_provisioner.fs.identity import identity
from model_provisioner.hashing.memo_rows import Row
from model_provisioner.hashing.threads import in_pools
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.reference import HubRef, is_whole
from model_provisioner.store.import_existing import adopt, find
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.tree import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.fetch_progress import FetchProgress
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.store.partial import Received


def is_present(work: Workspace, record: EntryRun) -> bool:
    """Tell whether what an entry has of remote files is here; no byte of them is read. From then on nobody evicts them."""
    return not _missing(work, record.entry)


def _missing(work: Workspace, entry: Entry) -> list[Entry]:
    """Return the remote parts of an entry that are not here; the others nobody evicts from then on."""
    return [part for part in entry.parts if not part.ref.is_local and not _is_held(work, part)]


def _is_held(work: Workspace, entry: Entry) -> bool:
    try:
        resolve_entry(entry, work.store)
        if work.lease.use(stored_files(entry, work.store).values()):
            resolve_entry(entry, work.store)  # they may have gone before that was noted
    except ProvisionError:
        return False
    return True


def fetch(work: Workspace, record: EntryRun, check: Callable[[], None] = lambda: None) -> None:
    """Fetch the model of a remote entry and its remote companions, unless they are here; its handoff is withdrawn first.

    `check` is called now and then, and raises to give up.

    Where that is not done, the entry has failed: with a `NotAllowedError` where the policy says no, `NotLockedError`,
    `FetchError`, `DigestMismatchError` or `StorageError`.
    """
    missing = _missing(work, record.entry)
    if not missing:
        return
    try:
        pend(work, [record])
        if record.error is not None:
            raise record.error
        for part in missing:
            last = work.store.recorded(_key(part))
            _Fetch(work, record, part, last, known_files(part, last), check).run()
        record.changed_outside()
    except ProvisionError as error:
        fail(work, record, error)


def fetch_anew(work: Workspace, part: Entry) -> None:
    """Fetch what the source of a remote entry has now, whatever it had before.

    What was handed off stays until the entry is verified again: nothing of it is touched. Raises what `fetch` fails with.
    """
    _Fetch(work, EntryRun(part), part, None, {}, lambda: None).run()


@dataclass(frozen=True)
class _Known:
    """What is known of a file before anybody is asked."""

    sha256: str
    size: int | None


def known_files(entry: Entry, record: Record | None) -> dict[str, _Known]:
    """Return the files of an entry as far as the lock, the expected digest or the last fetch name them, by name."""
    if entry.locked is not None:
        return {file.name: _Known(file.sha256, file.size) for file in entry.locked.files}
    if isinstance(entry.expected, SetDigest):
        return {name: _Known(digest.value, None) for name, digest in entry.expected.files}
    if isinstance(entry.expected, Digest) and entry.expected.algo == "sha256" and not is_whole(entry.ref):
        return {name_of(entry.ref): _Known(entry.expected.value, None)}
    return {} if record is None else {file.name: _Known(file.sha256, file.size) for file in record.files}


def _key(entry: Entry) -> str:
    return record_key(entry.ref, entry.include, entry.exclude)


class _Fetch:
    """One fetch of one entry."""

    def __init__(
        self,
        work: Workspace,
        record: EntryRun,
        part: Entry,
        last: Record | None,
        known: dict[str, _Known],
        check: Callable[[], None],
    ) -> None:
        self._check_wanted = check
        self._work, self._record, self._entry, self._store = work, record, part, work.store
        self._last, self._known = last, known
        self._new: list[Received] = []
        """What this fetch received."""
        self._expected: set[str] = set()
        """The files, by key, for which room was made."""

    def run(self) -> None:
        """Bring every file, give them their names, and keep what the reference stood for."""
        work, entry, store = self._work, self._entry, self._store
        if work.rules.locked and entry.locked is None:
            raise not_locked(work, entry)
        revision = entry.locked.revision if entry.locked else self._last.revision if self._last else None
        work.lease.use(file.sha256 for file in self._known.values())
        try:
            digests = {name: file.sha256 for name, file in self._known.items() if self._is_here(file.sha256, file.size)}
            if not digests or digests.keys() != self._known.keys():
                source = source_of(entry, self._check)
                listing = source.at(revision, sorted(self._known)) if self._is_pinned(revision) else source.listing()
                check_names((file.name for file in listing.files), entry.ref.id)  # before the long work
                digests = self._bring_all(listing.files)
                revision = listing.revision
        finally:
            work.lease.expect_no_more(self._expected)
        tree = store.make_tree(entry.ref.id, digests, folder=is_whole(entry.ref))
        self._note_digests()
        files = tuple(
            StoredFile(name=name, size=os.path.getsize(store.blob_path(sha256)), sha256=sha256)
            for name, sha256 in sorted(digests.items())
        )
        store.record(Record(ref=_key(entry), revision=revision, files=files, tree=tree))

    def _is_pinned(self, revision: str | None) -> bool:
        """Tell whether the files need not be asked for: lock or record name them and the commit that they are of."""
        by_record = self._entry.locked is not None or self._last is not None
        return bool(self._known) and by_record and (revision is not None or not isinstance(self._entry.ref, HubRef))

    def _is_here(self, sha256: str, size: int | None) -> bool:
        """Tell whether a file is in the store, or could be taken from another program."""
        if self._store.has(sha256, size):
            return True
        for found in find(sha256, size):
            key, bytes_there = f"adopt {sha256}", os.path.getsize(found.path)
            self._make_room({key: bytes_there})
            with fetching(self._work.progress, self._entry.name, bytes_there, found.source) as progress:
                taken = adopt(self._store, found, sha256, partial(progress.add, key))
            self._work.lease.expect_no_more([key])
            if taken:
                self._from(f"taken from {found.source}")
                return True
        return False

    def _check(self, host: str) -> None:
        config, rules = self._work.config, self._work.rules
        offline = "--offline" if rules.offline else offline_reason()
        NetworkPolicy(config.allow, offline, config.path).check(host, self._entry.name, self._entry.line)

    def _bring_all(self, files: Sequence[RemoteFile]) -> dict[str, str]:
        """Return the SHA-256 of each file in the store, where all are now."""
        work, entry = self._work, self._entry
        wanted = [self._wanted(file) for file in files]
        work.lease.use(each.sha256 for each in wanted if each.sha256 is not None)
        digests = {
            each.file.name: each.sha256
            for each in wanted
            if each.sha256 is not None and self._is_here(each.sha256, each.size)
        }
        left = [each for each in wanted if each.file.name not in digests]
        for each in left:
            self._check(each.host)
        sizes = {each.key(entry): each.size for each in left}
        known = {key: size for key, size in sizes.items() if size is not None}
        self._make_room(known)
        if not left:
            return digests
        size = sum(known.values()) if len(known) == len(sizes) else None
        with fetching(work.progress, entry.name, size, left[0].host) as progress:
            for each, sha256 in self._brought(left, progress):
                digests[each.file.name] = sha256
                self._from(f"fetched from {each.host}")
        return digests

    def _brought(self, left: Sequence[Wanted], progress: FetchProgress) -> Iterator[tuple[Wanted, str]]:
        """Bring files, several at a time; yield each with its SHA-256 as it is here."""
        from model_provisioner.fetchers.http.https import Https

        https = Https(self._check)
        download = Download(
            entry=self._entry,
            store=self._store,
            https=https,
            progress=progress,
            heard=self._heard,
            came=self._came,
        )

        def bring(wanted: Wanted, check: Callable[[], None]) -> str:
            received = download.bring(wanted, check)
            self._work.lease.expect_no_more([wanted.key(self._entry)])
            return str(wanted.sha256) if received is None else received.sha256

        with https:
            yield from in_pools([(bring, left, AT_ONCE)], https.close, self._check_wanted)

    def _came(self, received: Received) -> None:
        self._work.lease.use([received.sha256])
        self._new.append(received)

    def _wanted(self, file: RemoteFile) -> Wanted:
        """Return what a file must be, by what was known of it beforehand and by what its source says."""
        known = self._known.get(file.name)
        if known is not None and file.sha256 not in (None, known.sha256):
            if self._entry.strict:  # the source says beforehand that its bytes are others
                raise mismatch(self._entry, file, known.sha256, str(file.sha256))
            known = None
        if known is None:
            return Wanted(file=file, sha256=file.sha256, size=file.size, is_held=False)
        return Wanted(
            file=file, sha256=known.sha256, size=file.size if known.size is None else known.size, is_held=True
        )

    def _make_room(self, sizes: dict[str, int]) -> None:
        if self._work.config.max_size is not None:
            from model_provisioner.engine.eviction import make_room

            self._record.evicted += make_room(self._work, self._entry.name, sizes)
            self._expected.update(sizes)

    def _heard(self, key: str, total: int) -> None:
        """Take note of the size of a file that its source did not list."""
        if key not in self._expected:
            self._make_room({key: total})

    def _from(self, origin: str) -> None:
        """Note where a file came from; of many files each place once."""
        told = self._record.origin
        if origin not in told.split(", "):
            self._record.origin = f"{told}, {origin}" if told else origin

    def _note_digests(self) -> None:
        """Let the memo know what was hashed while it came, so that it is not read again.

        Nobody but us could write these files before they had their names, and they are read-only since; a write after the
        tick that ends here would move their times.
        """
        before = {self._store.blob_path(each.sha256): each for each in self._new}
        looks = {path: identity(os.stat(path)) for path in before}
        if looks:
            time.sleep(TICK_NS / 1e9)
        rows = {
            path: Row(looks[path], each.fingerprint, each.sha256, settled=True, hashed_at=int(time.time()))
            for path, each in before.items()
            if identity(os.stat(path)) == looks[path]
        }
        self._work.memo.keep(rows)
        self._work.received.update(row.identity for row in rows.values())
