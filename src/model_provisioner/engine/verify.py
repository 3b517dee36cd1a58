"""Verify: read what must be read, compare it with what is expected, and say what follows."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.engine.corruption import corruption
from model_provisioner.engine.damage import put_away_damaged
from model_provisioner.engine.events import ReadingBegins, counting
from model_provisioner.engine.examine import Asked, Verification, examine, expected_beside
from model_provisioner.engine.fetch import not_locked
from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.signatures import signed
from model_provisioner.engine.withdraw import fail, pend, withdraw
from model_provisioner.errors import DamagedError, DigestRequiredError, ProvisionError, failing
from model_provisioner.fs.atomic import drafted, read_if_there
from model_provisioner.fs.identity import identity
from model_provisioner.provenance import log as provenance
from model_provisioner.provenance.publisher_signature import check_readable
from model_provisioner.provenance.record import Account, accounts_of
from model_provisioner.records.catalog import now
from model_provisioner.records.checksums import render as render_checksums
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import Answer, FileDigest
    from model_provisioner.hashing.memo_rows import Row


def verify(work: Workspace, entries: Sequence[Entry]) -> dict[str, Verification | ProvisionError]:
    """Take the step for entries, so that the promise holds however it ends; return by entry what was found.

    What must be read again loses its handoff first. A failure withdraws the handoff and the `.sha256` target, is noted in
    the catalog, and is the result; a tolerated mismatch is none.
    """
    results: dict[str, Verification | ProvisionError] = {}
    files: dict[str, FileSet] = {}
    for entry in entries:
        with failing(results, [entry.name]):
            if work.rules.locked and not entry.is_locked:
                raise not_locked(work, entry)
            resolved = resolve_entry(entry, work.store)
            if entry.signature is not None:
                check_readable(entry.signature)  # before an hour of hashing
            files[entry.name] = resolved
    there = [entry for entry in entries if entry.name in files]
    asked = [
        Asked(entry.ref, files[entry.name], entry.expected, expected_beside(entry), entry.engine) for entry in there
    ]
    reader = _Reader(work, there, files)
    found = examine(asked, reader.digests)
    results.update(zip((entry.name for entry in there), found, strict=True))
    for entry in there:
        with failing(results, [entry.name]):
            if isinstance(each := results[entry.name], Verification):
                results[entry.name] = signed(work, entry, each)
    read = {
        entry.name: _account(work, entry, each)
        for entry in there
        if isinstance(each := results[entry.name], Verification) and each.how != "stat"
    }
    with failing(results, read):
        provenance.append(work.provenance_log, (account.record() for account in read.values()))
    for entry in entries:
        with failing(results, [entry.name]):
            _check_store(work, entry, results[entry.name])
            _check_policy(work, entry, results[entry.name], reader.before)
    _write_targets(work, entries, results)
    for entry in entries:
        each = results[entry.name]
        if isinstance(each, Verification):
            work.verified[entry.name] = each
            continue
        with failing(results, [entry.name]):
            fail(work, entry, each)
    return results


def _check_store(work: Workspace, entry: Entry, found: Verification | ProvisionError) -> None:
    """Raise for fetched files that are damaged, unless the policy takes any bytes."""
    if isinstance(found, Verification) and not entry.is_local:
        for part in found.parts:
            if entry.strict or part.expected is None:
                try:
                    put_away_damaged(work.store, part.digests)
                except DamagedError as error:
                    error.companion = part.label
                    raise


def _check_policy(
    work: Workspace, entry: Entry, found: Verification | ProvisionError, before: Mapping[str, Row | None]
) -> None:
    """Raise what the policy has against a verification; `before` has what the memo knew of the files, by path."""
    if isinstance(found, ProvisionError):
        return
    if (error := corruption(work.catalog.get(work.config.root, entry.name), found, before)) is not None:
        raise error
    part = next((part for part in found.parts if part.expected is None), None) if work.rules.require_digest else None
    if part is not None:
        raise DigestRequiredError(
            "no digest is expected, and this run takes no model without",
            where=f"{work.config.path}:{entry.line}",
            expected=f"an expected_digest for {f'{part.label} of ' if part.label else ''}{entry.name}",
            found="none",
            fix=f'expected_digest: "{part.digest}" is what its bytes have now',
        )
    if entry.strict and (fault := found.fault) is not None:
        raise fault


class _Reader:
    """Gets the digests of entries as this run may: from the memo as far as that may be asked.

    Whatever has to be read, now or because it moved after it was looked at, the handoff goes first.
    """

    def __init__(self, work: Workspace, entries: Sequence[Entry], files: Mapping[str, FileSet]) -> None:
        self._work = work
        self._pending: set[str] = set()
        self.before: dict[str, Row | None] = {}
        """What the memo knew of files, by path, before they were read."""
        self._entries: dict[str, list[Entry]] = {}
        """The entries that a file belongs to, by path."""
        for entry in entries:
            for member in files[entry.name].members:
                self._entries.setdefault(member.path, []).append(entry)

    def digests(self, paths: Sequence[str]) -> list[Answer]:
        """Return the digests of files, in their order; an error takes the place of one that can't be had."""
        work = self._work
        work.memo.load(paths)
        unknown = [path for path in paths if work.rules.full or work.memo.known(path) is None]
        for path in unknown:
            self.before.setdefault(path, work.memo.last(path))
        errors = self._pend(unknown)
        if not errors:
            return self._read(paths)
        refused = {path: errors[entry.name] for path in unknown for entry in self._of(path) if entry.name in errors}
        answers = iter(self._read([path for path in paths if path not in refused]))
        return [refused[path] if path in refused else next(answers) for path in paths]

    def _pend(self, unknown: Sequence[str]) -> dict[str, ProvisionError]:
        sizes: dict[str, int] = {}
        pending: dict[str, Entry] = {}
        for path in unknown:
            size = size_of(path)
            for entry in self._of(path):
                if entry.name not in self._pending or os.path.lexists(entry.handoff):
                    pending[entry.name] = entry
                    sizes[entry.name] = sizes.get(entry.name, 0) + size
        if not pending:
            return {}
        errors = pend(self._work, list(pending.values()))
        for name in pending.keys() - errors.keys() - self._pending:
            self._work.progress(ReadingBegins(name, sizes[name]))
        self._pending.update(pending)
        return errors

    def _of(self, path: str) -> list[Entry]:
        # A file that came into a folder meanwhile belongs to whoever may have that folder.
        return self._entries.get(path) or [each for some in self._entries.values() for each in some]

    def _read(self, paths: Sequence[str]) -> list[Answer]:
        memo, progress = self._work.memo, counting(self._work.progress)
        if self._work.rules.full:
            return memo.digests_in_full(paths, progress)
        answers = memo.digests(paths, progress, trust_fingerprint=self._work.config.recheck == "xxh3")
        return [self._as_received(answer) for answer in answers]

    def _as_received(self, answer: Answer) -> Answer:
        """Say of a file that was hashed while it came that it was: the memo knows it from there."""
        if isinstance(answer, ProvisionError) or answer.identity not in self._work.received:
            return answer
        return replace(answer, how="hashed")


def render_target(digests: Sequence[FileDigest]) -> bytes:
    """Return the bytes of the `.sha256` target."""
    return render_checksums((digest.path, digest.sha256) for digest in digests)


def target_of(found: Verification) -> bytes | None:
    """Return the bytes of the `.sha256` target that a verification leaves, None where there must be none."""
    return None if found.outcome == "fail" else render_target(found.digests)


def size_of(path: str) -> int:
    """Return the bytes of a file, 0 where it is gone: the step that reads it says so."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _write_targets(
    work: Workspace, entries: Sequence[Entry], results: dict[str, Verification | ProvisionError]
) -> None:
    """Write the `.sha256` targets of what was verified, and take back those of what is not as it should be."""
    data: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for entry in entries:
        found = results[entry.name]
        if isinstance(found, ProvisionError):
            continue  # `fail` takes it back
        target = work.sha256_target(entry)
        names[target] = entry.name
        if (wanted := target_of(found)) is None:
            with failing(results, [entry.name]):
                withdraw(work, target)
        elif read_if_there(target) != wanted:
            data[target] = wanted
        else:
            with contextlib.suppress(OSError):
                work.written[target] = identity(os.stat(target))
    if not data:
        return
    with failing(results, [names[target] for target in data]):
        work.ledger.record(data)
        with drafted(data) as (drafts, errors):
            results.update((names[path], error) for path, error in errors.items())
            for draft in drafts:
                with failing(results, [names[draft.path]]):
                    work.written[draft.path] = identity(draft.publish())


def _account(work: Workspace, entry: Entry, found: Verification) -> Account:
    return Account(
        name=entry.name,
        id=found.ref.id,
        path=found.files.path,
        time=now(),
        digest=str(found.digest),
        outcome=found.outcome,
        how=found.how,
        origin=work.origins.get(entry.name),
        files=accounts_of(found.files, found.digests),
        companions=_companions(found),
        policy=work.policy_of(entry),
        version=__version__,
        signature=None if found.facts.signature is None else found.facts.signature.told(),
    )


def _companions(found: Verification) -> tuple[dict[str, str], ...]:
    """Return what is told of each companion, with its digest and its own outcome."""
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
