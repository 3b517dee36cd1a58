"""Fetch: bring a remote reference into the store, if the policy allows. Offline by default.

What is on this disk already is not fetched: in the store, or with the right digest in the cache of another program.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model_provisioner.artifacts.adopt import adopt, find
from model_provisioner.artifacts.clock import TICK_NS
from model_provisioner.artifacts.flight import flight
from model_provisioner.artifacts.hashing import identity
from model_provisioner.artifacts.memo_rows import Row
from model_provisioner.artifacts.partial import Partial
from model_provisioner.artifacts.store import Record, StoredFile
from model_provisioner.artifacts.tree import check_names
from model_provisioner.errors import DigestMismatchError, FetchError, NotLockedError, ProvisionError
from model_provisioner.models.digest import Digest, SetDigest
from model_provisioner.models.policy import NetworkPolicy, offline_reason
from model_provisioner.models.reference import HubRef, ModelRef, ObjectRef
from model_provisioner.tasks.resolve import is_whole, record_key, resolve_entry, stored_files
from model_provisioner.tasks.sources import name_of, source_of
from model_provisioner.tasks.withdraw import fail, pend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.artifacts.partial import Received
    from model_provisioner.models.config import Entry
    from model_provisioner.models.remote import RemoteFile
    from model_provisioner.tasks.workspace import Transfer, Workspace


_ACCESS: dict[type[ModelRef], str] = {
    HubRef: "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
    ObjectRef: "ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own",
}
"""How to get access where a source says what it has, and does not hand it out."""


def is_present(work: Workspace, entry: Entry) -> bool:
    """Tell whether the files of a remote entry are here; no byte of them is read. From then on nobody evicts them."""
    try:
        resolve_entry(entry, work.store)
        if work.lease.use(stored_files(entry, work.store).values()):
            resolve_entry(entry, work.store)  # they may have gone before that was noted
    except ProvisionError:
        return False
    return True


def fetch(work: Workspace, entry: Entry) -> None:
    """Bring the model of a remote entry here, unless it is; its handoff is withdrawn first.

    Raises `NotAllowedError` where the policy says no, `NotLockedError`, `FetchError`, `DigestMismatchError` and
    `StorageError`; then the entry has failed.
    """
    if is_present(work, entry):
        return
    try:
        for error in pend(work, [entry]).values():
            raise error
        last = work.store.recorded(_key(entry))
        _Fetch(work, entry, last, known_files(entry, last)).run()
    except ProvisionError as error:
        fail(work, entry, error)
        raise


def fetch_anew(work: Workspace, entry: Entry) -> None:
    """Bring what the source of a remote entry has now, whatever it had before. Raises as `fetch` does.

    What was handed off stays until the entry is verified again: nothing of it is touched.
    """
    _Fetch(work, entry, None, {}).run()


@dataclass(frozen=True)
class _Known:
    """What is known of a file before anybody is asked."""

    sha256: str
    size: int | None


@dataclass(frozen=True)
class _Asked:
    """A file that is asked of its source."""

    file: RemoteFile
    sha256: str | None
    size: int | None
    known: _Known | None

    @property
    def host(self) -> str:
        """Who is asked for it."""
        return urlsplit(self.file.url).hostname or ""


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

    def __init__(self, work: Workspace, entry: Entry, last: Record | None, known: dict[str, _Known]) -> None:
        self._work, self._entry, self._store = work, entry, work.store
        self._last, self._known = last, known
        self._new: list[Received] = []
        """What this fetch received and published."""
        self._expected: set[str] = set()
        """The files, by key, for which room was made."""
        self._shown: Transfer | None = None
        self._came = 0
        """The bytes of the files that came so far."""

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
            self._hide()
        tree = store.make_tree(entry.ref.id, digests, folder=is_whole(entry.ref))
        self._note_digests()
        files = tuple(
            StoredFile(name=name, size=os.path.getsize(store.blob_path(sha256)), sha256=sha256)
            for name, sha256 in sorted(digests.items())
        )
        store.record(Record(ref=_key(entry), revision=revision, etag=None, files=files, tree=tree))

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
            self._show(bytes_there, found.source)
            taken = adopt(self._store, found, sha256, self._advance)
            self._work.lease.expect_no_more([key])
            self._hide()
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
        work = self._work
        asked = [_Asked(file, *self._wanted(file)) for file in files]
        work.lease.use(each.sha256 for each in asked if each.sha256 is not None)
        digests = {
            each.file.name: each.sha256
            for each in asked
            if each.sha256 is not None and self._is_here(each.sha256, each.size)
        }
        left = [each for each in asked if each.file.name not in digests]
        for each in left:
            self._check(each.host)
        keys = {self._key_of(each): each.size for each in left}
        self._make_room({key: size for key, size in keys.items() if size is not None})
        sizes = [size for size in keys.values() if size is not None]
        for each in left:
            self._show(sum(sizes) if len(sizes) == len(keys) else None, each.host)
            digests[each.file.name] = self._bring(each)
        return digests

    def _wanted(self, file: RemoteFile) -> tuple[str | None, int | None, _Known | None]:
        """Return the SHA-256 and size that a file must have, and what was known of it beforehand."""
        wanted = self._known.get(file.name)
        if wanted is not None and file.sha256 not in (None, wanted.sha256):
            if self._entry.strict:  # the source says beforehand that its bytes are others
                raise self._mismatch(file, wanted.sha256, str(file.sha256))
            wanted = None
        if wanted is None:
            return file.sha256, file.size, None
        return wanted.sha256, file.size if wanted.size is None else wanted.size, wanted

    def _key_of(self, asked: _Asked) -> str:
        """Return the key of a download: by its digest, so that two references to the same bytes wait for one another."""
        return asked.sha256 or f"{self._entry.ref.id} {asked.file.name} {asked.file.git_blob}"

    def _bring(self, asked: _Asked) -> str:
        """Return the SHA-256 that the file has in the store, where it is now."""
        key, sha256 = self._key_of(asked), asked.sha256
        with flight(self._store, key, self._wait):
            if sha256 is not None and self._store.has(sha256, asked.size):
                self._came += asked.size or 0
                return sha256
            with Partial.open(self._store, key, git_size=asked.file.size if asked.file.git_blob else None) as partial:
                received = self._receive(asked, partial, key)
                self._work.lease.use([received.sha256])
                self._store.publish(partial, received.sha256)
                self._work.lease.expect_no_more([key])
        self._new.append(received)
        self._came += received.size
        self._from(f"fetched from {asked.host}")
        return received.sha256

    def _make_room(self, sizes: dict[str, int]) -> None:
        if self._work.config.max_size is not None:
            from model_provisioner.tasks.prune import make_room

            make_room(self._work, self._entry.name, sizes)
            self._expected.update(sizes)

    def _expect(self, key: str, total: int) -> None:
        """Take note of the size of a file that its source did not list."""
        if key not in self._expected:
            self._make_room({key: total})
        if self._shown is not None:
            self._shown.expect(self._came + total)

    def _show(self, size: int | None, source: str) -> None:
        if self._shown is None:
            self._shown = self._work.progress.fetching(self._entry.name, size, source)

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.close()
        self._shown, self._came = None, 0

    def _advance(self, count: int) -> None:
        self._came += count
        self._reach(0)

    def _reach(self, count: int) -> None:
        if self._shown is not None:
            self._shown.reach(self._came + count)

    def _wait(self, arrived: int) -> None:
        if self._shown is not None:
            self._shown.follow(self._came + arrived)

    def _from(self, origin: str) -> None:
        """Note where a file came from; of many files each place once."""
        told = self._work.origins.get(self._entry.name, "")
        if origin not in told.split(", "):
            self._work.origins[self._entry.name] = f"{told}, {origin}" if told else origin

    def _receive(self, asked: _Asked, partial: Partial, key: str) -> Received:
        from model_provisioner.fetchers.https import Https
        from model_provisioner.fetchers.https import fetch as receive

        file, wanted = asked.file, asked.known
        self._check_room(file, partial)
        self._reach(partial.size)
        sized = asked.size is not None  # else what it answers is the first that is heard of it
        told = _Told(partial, self._reach, lambda total: None if sized else self._expect(key, total))
        try:
            receive(Https(self._check), file, told)
        except FetchError as error:
            if error.status in {401, 403}:
                error.fix = _ACCESS.get(type(self._entry.ref), error.fix)
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
                    where=f"{self._entry.ref.id} ({file.name})",
                    expected=f"{said} ({what})",
                    found=str(found),
                    fix="run again: nothing of them was kept; if they are wrong again, tell who runs the server",
                )
        if wanted is not None and wanted.sha256 != received.sha256 and self._entry.strict:
            partial.discard()
            raise self._mismatch(file, wanted.sha256, received.sha256)
        return received

    def _mismatch(self, file: RemoteFile, wanted: str, found: str) -> DigestMismatchError:
        path = self._entry.ref.id if is_single(self._entry) else f"{self._entry.ref.id} ({file.name})"
        return DigestMismatchError(path, f"sha256:{wanted}", f"sha256:{found}")

    def _check_room(self, file: RemoteFile, partial: Partial) -> None:
        disk = os.statvfs(self._store.root)
        free, need = disk.f_bavail * disk.f_frsize, (file.size or 0) - partial.size
        if need > free:
            raise FetchError(
                f"{self._entry.name} does not fit on the disk",
                where=self._store.root,
                expected=f"{need:,} bytes for {file.name}",
                found=f"{free:,} bytes",
                fix="free some space there, or point cache_dir to another disk",
            )

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
            path: Row(looks[path], each.fingerprint, each.sha256, settled=True)
            for path, each in before.items()
            if identity(os.stat(path)) == looks[path]
        }
        self._work.memo.keep(rows)
        self._work.received.update(row.identity for row in rows.values())


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


def is_single(entry: Entry) -> bool:
    """Tell whether an entry is of one file."""
    return not is_whole(entry.ref)


def not_locked(work: Workspace, entry: Entry) -> NotLockedError:
    """Return the error for an entry that the lock does not name, in a run that takes no other."""
    return NotLockedError(
        f"{entry.name} is not in the lock file as models.yaml has it, and this run takes no other model",
        where=f"{work.config.path}:{entry.line}",
        expected="an entry in models.lock of the same reference",
        found="none, or one of another reference",
        fix="run `doit model-lock` where you may, and commit models.lock",
    )
