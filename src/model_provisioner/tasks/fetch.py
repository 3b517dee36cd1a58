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
from model_provisioner.errors import DigestMismatchError, FetchError, NotLockedError, ProvisionError
from model_provisioner.models.digest import Digest, SetDigest
from model_provisioner.models.policy import NetworkPolicy, offline_reason
from model_provisioner.models.reference import HubRef
from model_provisioner.tasks.resolve import is_whole, record_key, resolve_entry
from model_provisioner.tasks.sources import name_of, source_of
from model_provisioner.tasks.withdraw import fail, pend

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.artifacts.partial import Received
    from model_provisioner.models.config import Entry
    from model_provisioner.models.remote import RemoteFile
    from model_provisioner.tasks.workspace import Workspace


def is_present(work: Workspace, entry: Entry) -> bool:
    """Tell whether the files of a remote entry are here; no byte of them is read."""
    try:
        resolve_entry(entry, work.store)
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
        _Fetch(work, entry).run()
    except ProvisionError as error:
        fail(work, entry, error)
        raise


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


class _Fetch:
    """One fetch of one entry."""

    def __init__(self, work: Workspace, entry: Entry) -> None:
        self._work, self._entry, self._store = work, entry, work.store
        self._key = record_key(entry.ref, entry.include, entry.exclude)
        self._last = self._store.recorded(self._key)
        self._known = known_files(entry, self._last)
        self._begun = False
        self._new: list[Received] = []
        """What this fetch received and published."""

    def run(self) -> None:
        """Bring every file, give them their names, and keep what the reference stood for."""
        work, entry, store = self._work, self._entry, self._store
        if work.rules.locked and entry.locked is None:
            raise not_locked(work, entry)
        revision = entry.locked.revision if entry.locked else self._last.revision if self._last else None
        digests = {name: file.sha256 for name, file in self._known.items() if self._is_here(file.sha256, file.size)}
        if not digests or digests.keys() != self._known.keys():
            source = source_of(entry, self._check)
            listing = source.at(revision, sorted(self._known)) if self._is_pinned(revision) else source.listing()
            digests = {file.name: self._bring(file) for file in listing.files}
            revision = listing.revision
        tree = store.make_tree(entry.ref.id, digests, folder=is_whole(entry.ref))
        self._note_digests()
        files = tuple(
            StoredFile(name=name, size=os.path.getsize(store.blob_path(sha256)), sha256=sha256)
            for name, sha256 in sorted(digests.items())
        )
        store.record(Record(ref=self._key, revision=revision, etag=None, files=files, tree=tree))

    def _is_pinned(self, revision: str | None) -> bool:
        """Tell whether the files need not be asked for: lock or record name them and the commit that they are of."""
        by_record = self._entry.locked is not None or self._last is not None
        return bool(self._known) and by_record and (revision is not None or not isinstance(self._entry.ref, HubRef))

    def _is_here(self, sha256: str, size: int | None) -> bool:
        """Tell whether a file is in the store, or could be taken from another program."""
        if self._store.has(sha256, size):
            return True
        for found in find(sha256, size):
            self._begin(os.path.getsize(found.path))
            if adopt(self._store, found, sha256, self._work.progress.advance):
                self._from(f"taken from {found.source}")
                return True
        return False

    def _check(self, host: str) -> None:
        config, rules = self._work.config, self._work.rules
        offline = "--offline" if rules.offline else offline_reason()
        NetworkPolicy(config.allow, offline, config.path).check(host, self._entry.name, self._entry.line)

    def _bring(self, file: RemoteFile) -> str:
        """Return the SHA-256 that the file has in the store, where it is now."""
        wanted = self._known.get(file.name)
        if wanted is not None and file.sha256 not in (None, wanted.sha256):
            if self._entry.strict:  # the source says beforehand that its bytes are others
                raise self._mismatch(file, wanted.sha256, str(file.sha256))
            wanted = None
        sha256 = wanted.sha256 if wanted is not None else file.sha256
        size = file.size if wanted is None or wanted.size is None else wanted.size
        if sha256 is not None and self._is_here(sha256, size):
            return sha256
        host = urlsplit(file.url).hostname or ""
        self._check(host)
        self._begin(size or 0)
        # By its digest, so that two references to the same bytes wait for one another.
        key = sha256 or f"{self._entry.ref.id} {file.name} {file.git_blob}"
        with flight(self._store, key):
            if sha256 is not None and self._store.has(sha256, size):
                return sha256
            with Partial.open(self._store, key, git_size=file.size if file.git_blob else None) as partial:
                received = self._receive(file, wanted, partial)
                self._store.publish(partial, received.sha256)
        self._new.append(received)
        self._from(f"fetched from {host}")
        return received.sha256

    def _from(self, origin: str) -> None:
        """Note where a file came from; of many files each place once."""
        told = self._work.origins.get(self._entry.name, "")
        if origin not in told.split(", "):
            self._work.origins[self._entry.name] = f"{told}, {origin}" if told else origin

    def _receive(self, file: RemoteFile, wanted: _Known | None, partial: Partial) -> Received:
        from model_provisioner.fetchers.https import Https
        from model_provisioner.fetchers.https import fetch as receive

        self._check_room(file, partial)
        try:
            receive(Https(self._check), file, _Told(partial, self._work.progress.advance))
        except FetchError as error:
            if isinstance(self._entry.ref, HubRef) and error.status in {401, 403}:
                error.fix = (
                    "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it"
                )
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

    def _begin(self, size: int) -> None:
        if not self._begun:
            self._begun = True
            self._work.progress.begin(self._entry.name, size)

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


class _Told:
    """A partial file that also tells how it grows."""

    def __init__(self, partial: Partial, advance: Callable[[int], None]) -> None:
        self._partial, self._advance = partial, advance

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
        self._advance(len(chunk))


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
