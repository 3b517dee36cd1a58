"""Report: how the models of a project stand, as values. It reads no byte of a model and writes nothing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from model_provisioner.engine.entry_run import EntryRun, failing
from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.up_to_date import known, reasons, stand
from model_provisioner.engine.verification.signatures import recorded
from model_provisioner.fs.paths import may_be_there
from model_provisioner.operations.model_report import (
    STANDS,
    CompanionReport,
    LastReading,
    ModelReport,
    SignatureReport,
)
from model_provisioner.provenance.record import iso, oldest
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import Reason
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.operations.model_report import HandoffState, Stands
    from model_provisioner.provenance.record import ProvenanceRecord
    from model_provisioner.records.catalog.catalog import Model, Transition
    from model_provisioner.references.reference import ModelRef


@dataclass(frozen=True)
class DiskUse:
    """The models that are made of exactly the same files, by name, and the bytes that these take."""

    models: tuple[ModelReport, ...]
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(model.name for model in self.models)


@dataclass(frozen=True)
class Report:
    """How the models of one configuration stand."""

    config: str
    root: str
    made_at: str
    """When; nothing else here depends on the clock."""
    models: tuple[ModelReport, ...]
    """By name."""
    left_over: tuple[str, ...]
    """The entries that the catalog knows of this configuration and that are gone from it: the next full run clears up."""

    @cached_property
    def counts(self) -> Counter[Stands]:
        """How many models stand how."""
        return Counter(model.stands for model in self.models)

    @cached_property
    def size(self) -> int:
        """The bytes that the models take; a file that several of them use counts once."""
        return sum({key: size for model in self.models for key, size in model.files.items()}.values())

    def disk_use(self) -> list[DiskUse]:
        """Return what takes the disk, the largest first; models of the very same files are one."""
        found: dict[frozenset[tuple[int, int]], list[ModelReport]] = {}
        for model in self.models:
            if model.size:
                found.setdefault(frozenset(model.files), []).append(model)
        uses = [DiskUse(tuple(some), some[0].size) for some in found.values()]
        return sorted(uses, key=lambda use: (-use.size, use.names))

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "config": self.config,
            "counts": {stands: self.counts[stands] for stands in STANDS},
            "left_over": list(self.left_over),
            "made_at": self.made_at,
            "models": [model.as_json() for model in self.models],
            "project": self.root,
            "size": self.size,
            "version": __version__,
        }


def report(work: Workspace, made_at: str) -> Report:
    """Look at every entry; `made_at` is the time to be shown. Raises `StorageError` where the records can't be read."""
    names = sorted(work.config.entries)
    entries = [work.config.entries[name] for name in names]
    work.load(entries)
    seen = work.verifications.of_project(work.config.root)
    moves = work.catalog.histories(work.config.root)
    catalogued = work.catalog.handoffs(work.config.root, work.config.path)
    return Report(
        config=work.config.path,
        root=work.config.root,
        made_at=made_at,
        models=tuple(_look(work, entry, seen.get(entry.name), moves.get(entry.name, ())) for entry in entries),
        left_over=tuple(sorted(catalogued.keys() - work.config.entries.keys())),
    )


def _look(work: Workspace, entry: Entry, seen: ProvenanceRecord | None, moves: Sequence[Transition]) -> ModelReport:
    row = work.catalog.get(work.config.root, entry.name)
    if row is not None and row.id != entry.ref.id:
        row = None  # of what the entry named before
    record = EntryRun(entry)
    with failing(record):
        resolve(work, record)
    files, trouble = record.files, None if record.error is None else str(record.error)
    why = tuple(reasons(work, record))
    state = _handoff_state(entry, why)
    if seen is not None and (row is None or (seen.id, seen.digest) != (row.id, row.digest)):
        seen = None
    return ModelReport(
        entry=entry,
        name=entry.name,
        reference=_shown(entry.ref),
        path=files.path if files is not None else row.path if row is not None else None,
        engine=entry.engine,
        handoff=entry.handoff,
        handoff_state=state,
        expected=None if entry.expected is None else str(entry.expected),
        row=row,
        files={} if files is None else _sizes(files),
        trouble=trouble,
        fault=_fault(work, record) if state == "confirmed" and row is not None and row.outcome == "fail" else None,
        reasons=why,
        fetched=not entry.ref.is_local,
        last=None if seen is None or seen.time is None or seen.how == "stat" else LastReading(seen.time, seen.how),
        hashed=_memorized(work, record, row) if seen is None else seen.hashed,
        companions=_companions(entry, seen),
        signature=_signature(work, entry, row),
        history=tuple(moves),
    )


def _shown(ref: ModelRef) -> str:
    """Return a reference as it may be shown: without credentials."""
    return str(ref) if ref.is_local else ref.id


def _fault(work: Workspace, record: EntryRun) -> str | None:
    """Return the error of what was handed off in spite of it: then all of its bytes are known, and so is its header."""
    found = None
    with failing(record):
        found = known(work, record)
    return None if found is None or found.fault is None else str(found.fault)


def _companions(entry: Entry, seen: ProvenanceRecord | None) -> tuple[CompanionReport, ...]:
    found = {} if seen is None else {(each["role"], each["id"]): each for each in seen.companions}
    return tuple(
        CompanionReport(
            role=each.role,
            reference=_shown(each.ref),
            expected=None if each.expected is None else str(each.expected),
            path=was.get("path"),
            digest=was.get("digest"),
            outcome=was.get("outcome"),
        )
        for each in entry.companions
        for was in [found.get((each.role, each.ref.id), {})]
    )


def _signature(work: Workspace, entry: Entry, row: Model | None) -> SignatureReport | None:
    if entry.signature is None:
        return None
    return SignatureReport(entry.signature, recorded(work, entry, row, "" if row is None else row.digest or ""))


def _memorized(work: Workspace, record: EntryRun, row: Model | None) -> str | None:
    """Return what the memo knows of when a model was hashed: a version that kept no record may have verified it."""
    if row is None or (standing := stand(work, record)).digests is None or str(standing.digest) != row.digest:
        return None
    return oldest(iso(digest.hashed_at) for digest in standing.digests)


def _handoff_state(entry: Entry, why: tuple[Reason, ...]) -> HandoffState:
    if not may_be_there(entry.handoff):
        return "none"
    return "unconfirmed" if any(reason.step == "handoff" for reason in why) else "confirmed"


def _sizes(files: FileSet) -> dict[tuple[int, int], int]:
    found = {}
    for member in files.members:
        try:
            status = os.stat(member.path)
        except OSError:
            continue  # gone since it was listed
        found[status.st_dev, status.st_ino] = status.st_size
    return found
