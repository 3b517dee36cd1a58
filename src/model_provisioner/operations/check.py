"""Check: would a fresh build give exactly the artifacts that are here? Nobody is contacted, and only the memo is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from model_provisioner.config.lockfile import line_of, lock_path, parse_lock
from model_provisioner.engine.entry_run import EntryRun, failing
from model_provisioner.engine.events import ReadingBegins, counting
from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.up_to_date import known
from model_provisioner.engine.verification.signatures import signed
from model_provisioner.engine.verify import find_out
from model_provisioner.engine.withdrawal.orphans import orphaned_artifacts, orphaned_rows
from model_provisioner.engine.workspace import look_at_workspace
from model_provisioner.errors import StorageError
from model_provisioner.fs.identity import size_or_zero
from model_provisioner.fs.paths import may_be_there, names_in
from model_provisioner.fs.sqlite import ReadOnlyDatabase
from model_provisioner.hashing.confirmed import confirmed
from model_provisioner.hashing.memo import Memo
from model_provisioner.invocation import command as called
from model_provisioner.operations.differences import (
    Difference,
    of_artifacts,
    of_bytes,
    of_error,
    of_lock,
    of_retired,
    of_rot,
    warnings,
)
from model_provisioner.operations.lock import disagreement
from model_provisioner.records.handoff import is_handoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from model_provisioner.engine.events import Progress
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.hashing.memo import Answer


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of one entry."""

    name: str
    line: int
    """Where the entry stands in the configuration."""
    differences: tuple[Difference, ...] = ()
    warnings: tuple[Difference, ...] = ()
    """What is the same here and may not be elsewhere, or is let pass."""
    retired: bool = False

    @property
    def verdict(self) -> Literal["same", "differs", "retired"]:
        """`same` is: a fresh build would give what is here."""
        return "differs" if self.differences else "retired" if self.retired else "same"


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What is here and belongs to no entry."""

    difference: Difference
    line: int | None = None
    """Where it stands in the lock file, if it does."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found."""

    models: tuple[Checked, ...]
    """The entries, in the order of the configuration."""
    left_over: tuple[LeftOver, ...]

    @property
    def same(self) -> bool:
        """Whether a fresh build would give exactly what is here."""
        return not self.left_over and all(model.verdict != "differs" for model in self.models)


def open_to_check(config_path: str, progress: Progress) -> Workspace:
    """Read the configuration and look at the records; written is only the memo, where that can be done.

    Raises `ConfigError`, and `StorageError` for a state folder that can't be believed.
    """
    work = look_at_workspace(config_path)
    work.progress = progress
    if os.path.isdir(work.state) and os.access(work.state, os.W_OK):
        work.memo = Memo(work.state, work.config.recheck)
    return work


def check(work: Workspace, *, full: bool) -> Report:
    """Compare what is here with what a fresh build would give.

    What the memo knows is believed, unless `full`: then every byte and every header is read. A model that can't be used is a
    difference. Raises `StorageError` where the records can't be read.
    """
    config = work.config
    entries = list(config.entries.values())
    work.load(entries)
    rows = {entry.name: work.catalog.get(config.root, entry.name) for entry in entries}
    retired = {name for name, row in rows.items() if row is not None and row.lifecycle == "Retired"}
    records = {entry.name: EntryRun(entry) for entry in entries if entry.name not in retired}
    _verifications(work, list(records.values()), full=full)
    locked = None if work.lock.data is None else parse_lock(work.lock.data, lock_path(config))
    models = []
    for entry in entries:
        differences, told = list(of_lock(work, entry, locked)), []
        if entry.name in retired:
            differences += of_retired(entry)
        elif (record := records[entry.name]).error is not None:
            differences.append(of_error(record.error))
        elif (each := record.verification) is None:
            raise AssertionError("neither verified nor failed")
        elif wrong := list(of_bytes(entry, each)) or list(of_rot(work, each)):  # all else follows from that
            differences += wrong
        else:
            differences += of_artifacts(work, entry, each, rows[entry.name])
            told = list(warnings(work, entry, each))
        models.append(
            Checked(
                name=entry.name,
                line=entry.line,
                differences=tuple(differences),
                warnings=tuple(told),
                retired=entry.name in retired,
            )
        )
    left_over = (*_unclaimed_lines(work, locked or {}), *_unclaimed_artifacts(work), *_unclaimed_rows(work))
    return Report(models=tuple(models), left_over=left_over)


# ---- what the bytes are


def _verifications(work: Workspace, records: Sequence[EntryRun], *, full: bool) -> None:
    """Find out what every entry's bytes are; read is what the memo does not know, or with `full` all of it."""
    for record in records:
        with failing(record):
            resolve(work, record)
            record.verification = None if full else known(work, record)
            if record.verification is not None:
                record.verification = signed(work, record.entry, record.verification)
    unread = [record for record in records if record.verification is None and record.error is None]
    for record in unread:
        size = sum(size_or_zero(member.path) for member in resolve(work, record).members)
        work.progress(ReadingBegins(record.name, size))
    find_out(work, unread, lambda paths: _in_full(work, paths) if full else _asked(work, paths, Memo.digests))
    unsure = [record for record in records if _is_unsure(record)]
    find_out(work, unsure, lambda paths: _asked(work, paths, confirmed))


def _is_unsure(record: EntryRun) -> bool:
    """Tell whether an entry's bytes are not as expected, and only a worker of a cluster said what they are."""
    found = record.verification
    if found is None or all(each.read_here for each in found.digests):
        return False
    return found.outcome == "fail" or any(of_bytes(record.entry, found))


def _in_full(work: Workspace, paths: Sequence[str]) -> list[Answer]:
    # Noted nowhere: bytes that rotted would become what the memo knows, and the only witness against them would be gone.
    memo = Memo(work.state, database=ReadOnlyDatabase)
    return memo.digests_in_full(paths, counting(work.progress)) if paths else []


def _asked(
    work: Workspace, paths: Sequence[str], ask: Callable[[Memo, Sequence[str], Callable[[int], object]], list[Answer]]
) -> list[Answer]:
    if not paths:
        return []
    progress = counting(work.progress)
    try:
        return ask(work.memo, paths, progress)
    except StorageError:  # no lock can be made, on a full disk for instance: that is no reason to give no answer
        work.memo.close()
        work.memo = Memo(work.state, work.config.recheck, database=ReadOnlyDatabase)
        return ask(work.memo, paths, progress)


# ---- what belongs to no entry


def _unclaimed_lines(work: Workspace, locked: Iterable[str]) -> Iterator[LeftOver]:
    path = lock_path(work.config)
    for name in sorted(set(locked) - work.config.entries.keys()):
        line = line_of(name, work.lock.data or b"")
        difference = Difference(
            kind="lock",
            what=disagreement(name, None, ()) or "",
            where=f"{path}:{line}",
            expected="the entries of models.yaml",
            found="one more",
            fix=f"run `{called('lock')}`, which drops it, or take models.yaml from version control",
        )
        yield LeftOver(difference=difference, line=line)


def _unclaimed_artifacts(work: Workspace) -> Iterator[LeftOver]:
    recorded = {path for path in orphaned_artifacts(work) if may_be_there(path)}
    for path in sorted(recorded | _unknown_handoffs(work)):
        target = path.endswith(".sha256")
        difference = Difference(
            kind="checksums" if target else "handoff",
            what=f"no entry claims this {'checksum file' if target else 'handoff'}",
            where=path,
            expected="those of the entries of models.yaml",
            found="one that an entry had which is gone"
            if path in recorded
            else "a handoff that this project has no record of",
            fix=f"run `{called('provision')}`, which removes it"
            if path in recorded
            else "remove it, for engines start what it names",
        )
        yield LeftOver(difference=difference)


def _unknown_handoffs(work: Workspace) -> set[str]:
    """Return the handoffs beside those of the entries that neither an entry nor any record claims."""
    claimed = set(work.config.handoffs)
    found: set[str] = set()
    for folder in {os.path.join(work.config.runtime_dir, "engines"), *map(os.path.dirname, claimed)}:
        paths = {os.path.join(folder, name) for name in names_in(folder) if name.endswith(".json")}
        unclaimed = paths - claimed
        work.build_record.load(unclaimed)
        found.update(
            path for path in unclaimed if path not in work.build_record and is_handoff(work.roots.read(path) or b"")
        )
    return found


def _unclaimed_rows(work: Workspace) -> Iterator[LeftOver]:
    for name in sorted(orphaned_rows(work)):
        difference = Difference(
            kind="catalog",
            what=f"the catalog has a row of {name}, which is not in models.yaml",
            where=work.catalog.path,
            expected="the entries of models.yaml",
            found="one more",
            fix=f"run `{called('provision')}`, which removes it",
        )
        yield LeftOver(difference=difference)
