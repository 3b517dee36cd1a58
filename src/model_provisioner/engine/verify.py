"""Verify: read what must be read, compare it with what is expected, and say what follows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from model_provisioner.config.entries import pinned
from model_provisioner.engine.entry_run import failing
from model_provisioner.engine.resolve import not_locked, resolve
from model_provisioner.engine.verification.corruption import corruption, put_away_damaged
from model_provisioner.engine.verification.examine import examine
from model_provisioner.engine.verification.reader import Reader
from model_provisioner.engine.verification.signatures import signed
from model_provisioner.engine.verification.wrong import note_wrong
from model_provisioner.engine.withdrawal.withdraw import check_writer, fail, withdraw
from model_provisioner.errors import (
    DamagedError,
    DigestRequiredError,
    ProvisionError,
    UnsoundModelError,
    WrongKindError,
    concerning,
)
from model_provisioner.fs.atomic import drafted
from model_provisioner.fs.identity import identity, identity_of
from model_provisioner.provenance import log as provenance
from model_provisioner.provenance.record import ProvenanceRecord, file_records
from model_provisioner.records.catalog.catalog import now
from model_provisioner.records.checksums import render as render_checksums
from model_provisioner.store.tree import changed_tree
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.hashing.memo import Answer, FileDigest
    from model_provisioner.hashing.memo_rows import Row


def verify(work: Workspace, records: Sequence[EntryRun]) -> None:
    """Verify entries, so that the promise holds however it ends: each has its `verification` or its `error` afterwards."""
    judge(work, [read(work, records)])


def read(work: Workspace, records: Sequence[EntryRun]) -> Reader:
    """Find out what the bytes of entries are, as `find_out` does; what must be read again loses its handoff first.

    That is the long part of verifying, which threads do side by side. The reader is for `judge`.
    """
    for record in records:
        record.advanced, record.reasons = True, None
    if work.rules.locked:
        for record in records:
            if not record.entry.is_locked:
                record.error = not_locked(work, record.entry)
    reader = Reader(work, records)
    find_out(work, records, reader.digests)
    if unsure := [each for each in records if reader.is_unsure(each)]:
        find_out(work, unsure, reader.confirmed)
    return reader


def judge(work: Workspace, readers: Sequence[Reader]) -> None:
    """Note and apply what was read: the rest of verifying, which costs little more for many entries than for one.

    A failure withdraws handoff and checksum file and is noted in the catalog; a tolerated mismatch is none.
    """
    records = [record for reader in readers for record in reader.records]
    found = [each for each in records if each.verification is not None]
    with failing(*found):
        told = [record_of(work, each) for each in found if each.entry.handoff]
        # The log first: what a kill keeps out of it, no later run would put there, for it reads nothing.
        lines = (each.to_dict() for each in told if each.how != "stat")
        provenance.append(work.provenance_log, lines, work.roots)
        work.verifications.note(work.config.root, told)
    for reader in readers:
        for record in reader.records:
            if record.error is None:
                with failing(record):
                    _check_store(work, record)
                    _check_policy(work, record, reader.before)
    _write_targets(work, [record for record in records if record.error is None])
    for reader in readers:
        for record in reader.records:
            if record.error is not None:
                fail(work, record, record.error)
            if isinstance(record.error, UnsoundModelError | WrongKindError):
                try:
                    note_wrong(work.store, record.entry, record.error, reader.confirmed)
                except ProvisionError as error:
                    fail(work, record, error)


def find_out(
    work: Workspace, records: Sequence[EntryRun], digests: Callable[[Sequence[str]], Sequence[Answer]]
) -> None:
    """Find out what the bytes of entries are, and whether their signatures hold, taking digests of files from `digests`.

    This is what verifying and checking have in common: nothing is written or withdrawn, and no policy is applied. Each record
    without an error has its `verification` or its `error` afterwards.
    """
    for record in records:
        record.verification = None
        if record.error is None:
            with failing(record):
                resolve(work, record)
                if record.entry.signature is not None:
                    from model_provisioner.provenance.publisher_signature import check_readable

                    check_readable(record.entry.signature)  # before an hour of hashing
    examine([record for record in records if record.error is None], digests)
    for record in records:
        if record.verification is not None:
            with failing(record):
                record.verification = signed(work, record.entry, record.verification)


def _check_store(work: Workspace, record: EntryRun) -> None:
    """Raise for fetched files that are damaged, or others than came, unless the policy takes any bytes."""
    if record.entry.is_local or record.verification is None:
        return
    for part in record.verification.parts:
        if record.entry.strict or part.expected is None:
            try:
                put_away_damaged(work.store, part.digests)
            except DamagedError as error:
                error.companion = part.label
                raise
            if part.files.fetched not in (None, part.by_name):  # the tree was changed after it was resolved
                with concerning(part.label):
                    raise changed_tree(part.files.path, part.files.fetched or {}, part.by_name)


def _check_policy(work: Workspace, record: EntryRun, before: Mapping[str, Row | None]) -> None:
    """Raise what the policy has against a verification; `before` has what the memo knew of the files, by path."""
    entry, found = record.entry, record.verification
    if found is None:
        return
    if (error := corruption(work.catalog.get(work.config.root, entry.name), found, before)) is not None:
        raise error
    pairs = zip(entry.parts, found.parts, strict=True) if work.rules.require_digest else ()
    for asked, part in ((asked, part) for asked, part in pairs if part.expected is None):
        raise DigestRequiredError(
            "no digest is expected, and this run takes no model without",
            where=f"{work.config.path}:{entry.line}",
            expected=f"an expected_digest for {f'{part.label} of ' if part.label else ''}{entry.name}",
            found="none",
            fix=f"if these bytes are right, put   {pinned(asked, str(part.digest))}   into models.yaml",
        )
    if entry.strict and (fault := found.fault) is not None:
        raise fault


def render_target(digests: Sequence[FileDigest]) -> bytes:
    """Return the bytes of the `.sha256` target."""
    return render_checksums((digest.path, digest.sha256) for digest in digests)


def target_of(found: Verification) -> bytes | None:
    """Return the bytes of the `.sha256` target that a verification leaves, None where there must be none."""
    return None if found.outcome == "fail" else render_target(found.digests)


def _write_targets(work: Workspace, records: Sequence[EntryRun]) -> None:
    """Write the `.sha256` targets of what was verified, and remove those of what is not as it should be."""
    changed: dict[str, bytes] = {}
    by_path: dict[str, EntryRun] = {}
    for record in records:
        if record.verification is None or not record.entry.handoff:
            continue
        target = work.sha256_target(record.entry)
        by_path[target] = record
        with failing(record):
            check_writer(work, target)
        if record.error is not None:
            continue
        if (wanted := target_of(record.verification)) is None:
            with failing(record):
                withdraw(work, target)
        elif work.roots.read(target) != wanted:
            changed[target] = wanted
        else:
            with contextlib.suppress(OSError):
                record.artifacts[target] = identity_of(target)
    if not changed:
        return
    with failing(*(by_path[target] for target in changed)):
        work.build_record.record(changed)
        with drafted(changed, work.roots) as (drafts, errors):
            for path, error in errors.items():
                by_path[path].error = error
            for draft in drafts:
                with failing(by_path[draft.path]):
                    by_path[draft.path].artifacts[draft.path] = identity(draft.publish())


def record_of(work: Workspace, record: EntryRun) -> ProvenanceRecord:
    """Return the provenance record of an entry's verification, as of now."""
    entry, found = record.entry, record.verification
    assert found is not None
    return ProvenanceRecord(
        name=entry.name,
        id=found.ref.id,
        path=found.files.path,
        time=now(),
        digest=str(found.digest),
        outcome=found.outcome,
        how=found.how,
        origin=record.origin or None,
        files=file_records(found.files, found.digests),
        companions=_companions(found),
        policy=work.policy_of(entry),
        version=__version__,
        signature=None if found.metadata.signature is None else found.metadata.signature.to_dict(),
    )


def _companions(found: Verification) -> tuple[dict[str, str], ...]:
    """Return what the provenance record says of each companion."""
    return tuple(
        {
            "role": each.role,
            "id": each.id,
            "path": part.files.path,
            "digest": str(part.digest),
            "outcome": part.outcome,
        }
        for each, part in zip(found.files.companions, found.parts[1:], strict=True)
    )
