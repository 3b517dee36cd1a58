"""Audit: read again what was verified, the longest unread first, to find what changed without a trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.engine.batches import at_once, stoppable
from model_provisioner.engine.hand_off import hand_off
from model_provisioner.engine.resolve import resolve
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.identity import size_or_zero
from model_provisioner.hashing.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Due:
    """A model whose turn it is."""

    entry: Entry
    last: str | None
    """When it was audited last, in the catalog's form of a time."""
    ahead: bool
    """Whether that lies in the future: a clock went back, and the time says nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an audit has to do, and what it leaves alone; each entry stands in one of the lists, the due ones in order."""

    due: list[Due]
    recent: list[str]
    """Audited not long ago."""
    retired: list[str]
    new: list[str]
    """Not provisioned yet: there is nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an audit found of a model."""

    due: Due
    size: int
    """The bytes of its files before they were read."""
    found: Verification | ProvisionError


def plan(work: Workspace, entries: Iterable[Entry], older_than: int | None, at: datetime | None = None) -> Plan:
    """Say which entries are to be audited `at` a time (now): those whose last audit is `older_than` seconds ago, or more.

    The order is that of their audits, those that never had one first, then those whose time lies in the future. Where a run
    reads not in full, a model was audited when it was verified.
    """
    at = at or datetime.now(UTC)
    found = Plan(due=[], recent=[], retired=[], new=[])
    work.load(entries := list(entries))
    for entry in entries:
        row = work.catalog.get(work.config.root, entry.name)
        if row is None:
            found.new.append(entry.name)
            continue
        if row.lifecycle == "Retired":
            found.retired.append(entry.name)
            continue
        last = row.audited_at if work.rules.full else row.verified_at
        age = None if last is None else (at - datetime.fromisoformat(last)).total_seconds()
        if older_than is not None and age is not None and 0 <= age < older_than:
            found.recent.append(entry.name)
        else:
            found.due.append(Due(entry=entry, last=last, ahead=age is not None and age < 0))
    found.due.sort(key=lambda due: (due.last is not None, not due.ahead, due.last or ""))
    return found


def audit(run: Run, due: Iterable[Due], max_bytes: int | None, workers: int, done: list[Audited]) -> Generator[Audited]:
    """Audit models in their order, until the next would make them more than `max_bytes`; yield each as it is done.

    Each is appended to `done`, also one that an interrupt keeps from being yielded.

    At most `workers` are read at a time, or as many as keep the workers of the run's executor busy. The first is audited
    whatever its size, or it would never have its turn. Each takes the steps of a run: its handoff is withdrawn before it is
    read, and comes back if it passes. It is in the catalog before it is yielded.

    Raises `ExecutorError`: then no other model is begun, and those that were being read stay withdrawn.
    """

    def read(each: _Turn, check: Callable[[], None]) -> Audited:
        work = stoppable(run.work, check)
        hand_off(work, [each.record])
        if work.rules.full:
            work.catalog.note_audit(work.config.root, each.record.name)
        found = each.record.error or each.record.verification
        assert found is not None
        audited = Audited(due=each.due, size=each.size, found=found)
        done.append(audited)
        return audited

    turns: list[_Turn] = []
    total = 0
    for each in due:
        record = run.record(each.entry.name)
        size = _size(run.work, record)
        if max_bytes is not None and total and total + size > max_bytes:
            break
        total += size
        turns.append(_Turn(each, record, size))
    workers = at_once(run.work, (each.record for each in turns), workers)
    for _, audited in in_threads(read, turns, workers):
        yield audited


@dataclass(frozen=True)
class _Turn:
    due: Due
    record: EntryRun
    size: int


def still_failed(work: Workspace, names: Iterable[str]) -> dict[str, str]:
    """Return which of these entries, none of which is read now, are `Failed` by an earlier run, and why."""
    rows = ((name, work.catalog.get(work.config.root, name)) for name in names)
    return {name: row.reason or "" for name, row in rows if row is not None and row.lifecycle == "Failed"}


def _size(work: Workspace, record: EntryRun) -> int:
    try:
        return sum(size_or_zero(member.path) for member in resolve(work, record).members)
    except ProvisionError:
        return 0  # the audit says why
