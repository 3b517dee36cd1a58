"""Fetch the files of a remote reference into the store, if the policy allows. Offline by default.

What is on this disk already is not fetched: in the store, or with the right digest in the cache of another program.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import FetchWaits, fetching
from model_provisioner.engine.fetching.download import AT_ONCE, Download, Wanted, mismatch
from model_provisioner.engine.fetching.wrong import is_right, is_same, put_away_replaced, still_here, wrong_record
from model_provisioner.engine.resolve import (
    check_opened,
    not_locked,
    record_keys,
    record_of,
    resolve_entry,
    stored_files,
)
from model_provisioner.engine.withdraw import FETCHED, fail, pend
from model_provisioner.errors import FetchError, ProvisionError
from model_provisioner.fetchers.listing import SECONDS, Listing, name_of
from model_provisioner.fetchers.patience import LONGEST
from model_provisioner.fetchers.sources import source_of
from model_provisioner.fs.clock import TICK_NS
from model_provisioner.fs.fileset import discover
from model_provisioner.fs.identity import identity_of
from model_provisioner.hashing.memo_rows import Row
from model_provisioner.hashing.threads import in_pools, left_behind
from model_provisioner.records.catalog import now
from model_provisioner.references.digest import Digest, SetDigest, dirhash
from model_provisioner.references.reference import HubRef, is_whole
from model_provisioner.store.import_existing import adopt, find
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.tree import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.store.partial import Received


def is_present(work: Workspace, record: EntryRun) -> bool:
    """Tell whether the remote files of an entry are here, without reading a byte. From then on they are leased: not evicted."""
    return not _missing(work, record.entry)


def _missing(work: Workspace, entry: Entry) -> list[Entry]:
    """Return the remote parts of an entry that are not here, or wrong, and lease the others."""
    remote = [part for part in entry.parts if not part.ref.is_local]
    wrong = [part for part in remote if wrong_record(work.store, part) is not None]
    if wrong and is_right(work.store, entry):  # as it is asked for now: an adapter, say, that was named as the model
        wrong = []
    return [part for part in remote if part in wrong or not _is_leased(work, part)]


def _is_leased(work: Workspace, entry: Entry) -> bool:
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
        pend(work, [record], FETCHED)
        if record.error is not None:
            raise record.error
        _fetch_parts(work, record, missing, check)
    except ProvisionError as error:
        fail(work, record, error)


def fetch_for_program(work: Workspace, record: EntryRun) -> None:
    """Fetch the model of an entry of no project, unless it is here. Raises what `fetch` fails with, and notes nothing of it."""
    _fetch_parts(work, record, _missing(work, record.entry), lambda: None)


def _fetch_parts(work: Workspace, record: EntryRun, missing: Sequence[Entry], check: Callable[[], None]) -> None:
    for part in missing:
        if (wrong := wrong_record(work.store, part)) is not None:
            _Fetch(work, record, part, None, {}, check, wrong, still_here(work.store, wrong)).run()
            put_away_replaced(work.store, wrong)
        else:
            last = record_of(part, work.store)
            _Fetch(work, record, part, last, _known_files(part, last), check).run()
    record.changed_outside()


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


def _known_files(entry: Entry, record: Record | None) -> dict[str, _Known]:
    """Return the files of an entry as far as the lock, the expected digest or the last fetch name them, by name."""
    if entry.locked is not None:
        return {file.name: _Known(file.sha256, file.size) for file in entry.locked.files}
    if isinstance(entry.expected, SetDigest):
        return {name: _Known(digest.value, None) for name, digest in entry.expected.files}
    if isinstance(entry.expected, Digest) and entry.expected.algo == "sha256" and not is_whole(entry.ref):
        return {name_of(entry.ref): _Known(entry.expected.value, None)}
    return {} if record is None else {file.name: _Known(file.sha256, file.size) for file in record.files}


@dataclass
class _Fetch:
    """One fetch of the model or of a companion of an entry."""

    work: Workspace
    record: EntryRun
    part: Entry
    last: Record | None
    """What the reference resolved to when it was last fetched."""
    known: dict[str, _Known]
    check: Callable[[], None]
    """Is called now and then, and raises to give up."""
    wrong: Record | None = None
    """What the reference resolved to and turned out to be wrong: the source may have something else by now."""
    before: Mapping[str, StoredFile] = field(default_factory=dict)
    """Its files that are still here, by name."""
    received: list[Received] = field(default_factory=list)
    validators: dict[str, str | None] = field(default_factory=dict)
    """What servers called the versions of the files that they were asked for, by name."""
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
            digests = {name: file.sha256 for name, file in self.known.items() if self._is_here(file.sha256, file.size)}
            listing = None
            if not digests or digests.keys() != self.known.keys():
                listing = left_behind(partial(self._ask, revision), self._until(SECONDS + LONGEST))
                names = [file.name for file in listing.files]
                check_names(names, part.ref.id)  # before the long work
                check_opened(part, names)
                if self.wrong is not None and is_same(listing, self.wrong, self.before):
                    self._from("unchanged at its source")
                    digests = {name: self._stay(file) for name, file in self.before.items()}
                else:
                    digests = self._fetch_all(listing.files)
                revision = listing.revision
            if not self.received and not self.record.origin:
                self._from("found in the store")
        finally:
            self._release_room(list(self.expected))
        tree = store.make_tree(part.ref.id, digests, folder=is_whole(part.ref))
        self._note_digests()
        if listing is not None:
            self._note_origin(listing, tree, digests)
        files = tuple(
            StoredFile(
                name=name,
                size=os.path.getsize(store.blob_path(sha256)),
                sha256=sha256,
                validator=self.validators.get(name),
            )
            for name, sha256 in sorted(digests.items())
        )
        key = record_keys(part.ref, part.include, part.exclude)[0]
        store.record(Record(ref=key, revision=revision, files=files, tree=tree))

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
        by_record = self.part.locked is not None or self.last is not None
        return bool(self.known) and by_record and (revision is not None or not isinstance(self.part.ref, HubRef))

    def _is_here(self, sha256: str, size: int | None) -> bool:
        """Tell whether a file is in the store, or could be taken from another program."""
        if self.work.store.has(sha256, size):
            return True
        for found in find(sha256, size):
            key, bytes_there = f"adopt {sha256}", os.path.getsize(found.path)
            self._make_room({key: bytes_there})
            with fetching(self.work.progress, self.part.name, bytes_there, found.source) as progress:
                taken = adopt(
                    self.work.store,
                    found,
                    sha256,
                    partial(progress.add, key),
                    fingerprints=self.work.memo.fingerprints,
                )
            self._release_room([key])
            if taken:
                self._from(f"taken from {found.source}")
                return True
        return False

    def _check_host(self, host: str) -> None:
        config, work = self.work.config, self.work
        NetworkPolicy(config.allow, work.offline, config.path, work.hosts).check(host, self.part.name, self.part.line)

    def _fetch_all(self, files: Sequence[RemoteFile]) -> dict[str, str]:
        """Fetch the files that are not here; return the SHA-256 of each, by name."""
        from model_provisioner.fetchers.http.client import HttpClient

        work, part = self.work, self.part
        wanted = [self._wanted(file) for file in files]
        work.lease.use(each.sha256 for each in wanted if each.sha256 is not None)
        digests = {
            each.file.name: each.sha256
            for each in wanted
            if each.sha256 is not None and self._is_here(each.sha256, each.size)
        }
        left = [each for each in wanted if each.file.name not in digests]
        for each in left:
            self._check_host(each.host)
        if not left:
            return digests
        sizes = {each.key: each.size for each in left}
        known = {key: size for key, size in sizes.items() if size is not None}
        self._make_room(known)
        size = sum(known.values()) if len(known) == len(sizes) else None
        with fetching(work.progress, part.name, size, left[0].host) as progress, HttpClient(self._check_host) as client:
            download = Download(work=work, entry=part, client=client, progress=progress, make_room=self._make_room)
            for each, received in in_pools([(download.fetch, left, AT_ONCE)], client.close, self.check):
                name = each.file.name
                if received is not None:
                    self.received.append(received)
                    digests[name], self.validators[name] = received.sha256, received.validator
                else:
                    digests[name] = str(each.sha256) if each.before is None else self._stay(each.before)
                self._release_room([each.key])
                unchanged = received is None and each.before is not None
                self._from(f"unchanged at {each.host}" if unchanged else f"fetched from {each.host}")
        return digests

    def _wanted(self, file: RemoteFile) -> Wanted:
        """Return what a file must be, by what was known of it beforehand and by what its source says."""
        known = self.known.get(file.name)
        if known is not None and file.sha256 not in (None, known.sha256):
            if self.part.strict:  # the source says beforehand that its bytes are others
                raise mismatch(self.part, file, known.sha256, str(file.sha256))
            known = None
        sha256 = file.sha256 if known is None else known.sha256
        size = file.size if known is None or known.size is None else known.size
        key = sha256 or f"{self.part.ref.id} {file.name} {file.git_blob}"
        before = None if sha256 is not None else self.before.get(file.name)
        return Wanted(file=file, key=key, sha256=sha256, size=size, is_pinned=known is not None, before=before)

    def _stay(self, file: StoredFile) -> str:
        """Take a file that is here for what its source has; return its SHA-256."""
        self.work.lease.use([file.sha256])
        self.validators[file.name] = file.validator
        return file.sha256

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

    def _note_origin(self, listing: Listing, tree: str, digests: Mapping[str, str]) -> None:
        """Note what the source gave, where it listed or gave each file: only that is believed of a model's origin."""
        listed = {file.name: file.sha256 for file in listing.files}
        unlisted = Counter(sha256 for name, sha256 in digests.items() if listed.get(name) != sha256)
        if unlisted <= Counter(each.sha256 for each in self.received):
            one = discover(tree, stores=(self.work.store.blobs,)).kind == "file"
            digest = Digest("sha256", *digests.values()) if one else dirhash(digests.items())
            self.work.fetches.note(self.part.ref.id, digest, listing.revision, now())

    def _note_digests(self) -> None:
        """Note in the memo what was hashed while it came, so that it is not read again.

        Nobody but us could write these files before they had their names, and they are read-only since; a write after the
        tick that ends here would move their times. What another host published meanwhile is read as if it had been there.
        """
        paths = {self.work.store.blob_path(each.sha256): each for each in self.received}
        found = {path: identity_of(path) for path in paths}
        before = {path: it for path, it in found.items() if (it.device, it.inode) == paths[path].file}
        if before:
            time.sleep(TICK_NS / 1e9)
        rows = {
            path: Row(
                before[path], each.fingerprint, each.sha256, ground="hashed", settled=True, hashed_at=int(time.time())
            )
            for path, each in paths.items()
            if path in before and identity_of(path) == before[path]
        }
        self.work.memo.keep(rows)
        self.work.received.update(row.identity for row in rows.values())
