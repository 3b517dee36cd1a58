"""The audit of a store: read its blobs again, the longest unread first. A blob's name is its digest.

Nothing is withdrawn but what relies on a blob that was read as the same other bytes twice, the second time here.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from model_provisioner.engine.events import BytesRead, ModelEnded, ReadingBegins
from model_provisioner.engine.verification.corruption import put_away
from model_provisioner.engine.verification.damage import fail_dependents
from model_provisioner.errors import DamagedError, StorageError
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.hashing.executors.tasks import Asked, Hashed, look_asked
from model_provisioner.hashing.memo import Memo
from model_provisioner.hashing.uncached import hash_uncached
from model_provisioner.invocation import command as called
from model_provisioner.operations.store_audit.found import Damaged, Gone, Unread, Whole
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.store.usage import owner_of, usage_records

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from model_provisioner.engine.events import Progress
    from model_provisioner.fs.identity import Identity
    from model_provisioner.hashing.executors.tasks import Answer
    from model_provisioner.operations.store_audit.found import Audited
    from model_provisioner.operations.store_audit.plan import Plan
    from model_provisioner.records.store_audits import Blob, StoreAudits
    from model_provisioner.store.store import Store

    class Reads(Protocol):
        """Who hashes files: threads of this process, or a window to an executor."""

        def hash(
            self, files: Sequence[Asked], progress: Callable[[int], object], /
        ) -> Generator[list[tuple[Asked, Answer]]]:
            """Hash files, and yield what is found of some of them, as they are done."""


AT_ONCE = 1024
"""How many blobs are handed to who hashes them at once."""
THE_STORE = "the store"
"""What progress calls what is read."""


class StoreAudit:
    """An audit of one store by the user whose state folder is `state`; `reads` hashes its files."""

    def __init__(self, store: Store, state: str, audits: StoreAudits, reads: Reads, progress: Progress) -> None:
        self._store, self._state, self._audits, self._reads, self._progress = store, state, audits, reads, progress
        self.damaged: Damaged | None = None
        """The last damaged blob, and what was done: also where an interrupt keeps it from being yielded."""

    def run(self, plan: Plan, max_bytes: int | None) -> Generator[Audited]:
        """Audit what is due until the next blob would make it more than `max_bytes`; yield each as it is done.

        The first is audited whatever its size, or it would never have its turn. What was done is recorded when it is yielded.
        Raises `StorageError`, and `ExecutorError` where it is not this process that hashes.
        """
        size = plan.due.size if max_bytes is None else min(plan.due.size, max_bytes)
        self._progress(ReadingBegins(THE_STORE, size))
        try:
            for blobs in _portions(self._audits.due(plan.until), max_bytes):
                yield from self._audited(blobs, plan.began)
        finally:
            self._progress(ModelEnded(THE_STORE))

    def _audited(self, blobs: Sequence[Blob], began: int) -> Iterator[Audited]:
        by_path: dict[str, Blob] = {}
        files = []
        for blob in blobs:
            path = self._store.blob_path(blob.sha256)
            by_path[path] = blob
            found = stat_or_none(path)
            # What can't be looked at is read here all the same, which says why.
            look = (blob.size, 0, 0) if found is None else (found.st_size, found.st_mtime_ns, found.st_ino)
            files.append(Asked(path, *look))
        with closing(self._reads.hash(files, lambda count: self._progress(BytesRead(count, THE_STORE)))) as tasks:
            for answers in tasks:
                said = [(by_path[asked.path], asked, answer) for asked, answer in answers]
                whole = [blob for blob, _, answer in said if answer == Hashed(blob.sha256)]
                self._note(whole, began)
                yield from (Whole(blob=blob) for blob in whole)
                for blob, asked, answer in said:
                    if answer == Hashed(blob.sha256):
                        continue
                    each = self._judged(blob, asked, answer)
                    if isinstance(each, Whole):
                        self._note([blob], began)
                    elif isinstance(each, Gone):
                        self._audits.forget([blob.sha256])
                    yield each

    def _note(self, blobs: Iterable[Blob], began: int) -> None:
        """Note that blobs are whole, at a time that makes none of them due again in this audit."""
        self._audits.note([blob.sha256 for blob in blobs], max(began, time.time_ns()))

    def _judged(self, blob: Blob, asked: Asked, answer: Answer) -> Audited:
        """Say what a blob is that was not read, or differs: it is read here, until two readings say the same, or not."""
        readings = [answer.sha256] if isinstance(answer, Hashed) else []
        before = look_asked(asked)
        while len(readings) < 2:
            try:
                sha256, file = hash_uncached(lambda flags: self._store.open(blob.sha256, flags))
            except (FileNotFoundError, NotADirectoryError):
                return Gone(blob=blob)
            except OSError as error:
                return Unread(blob=blob, error=_unread(self._store.blob_path(blob.sha256), error))
            look = file.size, file.mtime_ns, file.inode
            is_another = look != before  # a run put the one that differed away, and fetched it again
            if sha256 == blob.sha256 and (is_another or not readings):
                return Whole(blob=blob)
            readings.append(sha256)
            before = look
        if readings[0] != readings[1]:
            return Unread(blob=blob, error=_unsteady(self._store.blob_path(blob.sha256), blob.sha256, readings))
        return self._damaged(blob, sha256, file)

    def _damaged(self, blob: Blob, found: str, file: Identity) -> Damaged:
        """Fail what relies on a blob whose bytes have the SHA-256 `found`, then put it away.

        In this order: a kill in between leaves a blob that the next audit finds, and no handoff that names it.
        """
        store, wanted = self._store, blob.sha256
        memo = Memo(self._state)
        memo.disown({file: found})  # no run believes it by its times any more
        memo.close()
        fix = f"run `{called('provision')}`, and it is fetched again"
        error = DamagedError(store.blob_path(wanted), f"sha256:{wanted}", f"sha256:{found}", fix=fix)
        damaged = self.damaged = Damaged(blob=blob, error=error)
        catalog = Catalog(self._state)
        try:
            for each in fail_dependents(catalog, store, wanted, error):
                trouble = (*damaged.trouble, *each.trouble)
                damaged = self.damaged = replace(damaged, dependents=(*damaged.dependents, each), trouble=trouble)
        except StorageError as broken:
            damaged = replace(damaged, trouble=(*damaged.trouble, broken))
        finally:
            catalog.close()
        damaged = self.damaged = replace(damaged, elsewhere=self._used_elsewhere(wanted))
        if store.holds(wanted, file):  # else another run put it away, and perhaps fetched it again
            damaged = self.damaged = replace(damaged, error=put_away(store, wanted, error.path, found))
        if not store.holds(wanted, file):
            self._audits.forget([wanted])
        return damaged

    def _used_elsewhere(self, sha256: str) -> tuple[str, ...]:
        """Return, in words, the projects of others that have a blob, as far as the store's records can be read."""
        me = owner_of(self._state)
        try:
            uses = [use for use in usage_records(self._store) if use.owner != me]
        except StorageError:
            return ()
        have = (
            use
            for use in uses
            if any(left is None and self._store.names_blob(tree, sha256) for tree, left in use.trees.items())
        )
        return tuple(sorted(f"{use.config} on {use.owner.partition(' ')[0]}" for use in have))


def _portions(due: Iterable[Blob], max_bytes: int | None) -> Iterator[list[Blob]]:
    """Yield blobs, some at once, that have no more than `max_bytes` together; the first whatever it has."""
    total = 0
    some: list[Blob] = []
    for blob in due:
        if max_bytes is not None and total and total + blob.size > max_bytes:
            break
        total += blob.size
        some.append(blob)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _unread(path: str, error: OSError) -> StorageError:
    return StorageError(
        "a blob can't be read",
        where=path,
        expected="a file that you may read, on a disk that is sound",
        found=error.strerror or str(error),
        fix="it was left as it is: give yourself read permission, or look at the disk; if it is lost, remove the file, and "
        f"`{called('provision')}` fetches it again",
    )


def _unsteady(path: str, wanted: str, readings: Sequence[str]) -> StorageError:
    return StorageError(
        "a blob was read twice, as other bytes each time",
        where=path,
        expected=f"sha256:{wanted}, each time",
        found=", then ".join(f"sha256:{reading}" for reading in readings),
        fix="it was left as it is, and the next audit reads it again: look at the disk, its cable and the memory, and at those "
        "of the workers, if there are any",
    )
