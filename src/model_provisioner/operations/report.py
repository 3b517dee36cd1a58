"""Report: how the models of a project stand, as values. It reads no byte of a model and writes nothing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.config.entries import accepting
from model_provisioner.engine.entry_run import EntryRun, failing
from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.up_to_date import reasons, stand
from model_provisioner.errors import DigestMismatchError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.provenance.record import iso, oldest
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import Reason
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.provenance.record import ProvenanceRecord
    from model_provisioner.records.catalog import Model

Stands = Literal["failed", "tolerated", "stale", "pending", "new", "retired", "current"]
"""How a model stands, the worst first. `tolerated` is a mismatch that was handed off; `stale`: the next run has work to do."""

STANDS: tuple[Stands, ...] = ("failed", "tolerated", "stale", "pending", "new", "retired", "current")

HandoffState = Literal["confirmed", "unconfirmed", "none"]
_PLAIN = ("engine", "error", "expected", "handoff", "handoff_state", "name", "path", "reference", "size", "stands")
"""The fields of a `ModelReport` that JSON has as they are."""


@dataclass(frozen=True)
class LastReading:
    """A verification that read bytes: its time (ISO 8601, UTC), and whether it `hashed` them or compared their `xxh3`."""

    time: str
    how: str


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """One entry of the configuration: what is asked for, what the records say of it, and what is there now."""

    entry: Entry
    name: str
    reference: str
    """Without credentials."""
    path: str | None
    """What an engine opens, where the model is here or was."""
    engine: str
    handoff: str
    handoff_state: HandoffState
    """Whether the handoff is there, and is what a run would write now, as far as is known without reading."""
    expected: str | None
    row: Model | None
    """What the catalog says."""
    files: Mapping[tuple[int, int], int]
    """The bytes of each file that is here now, by device and inode."""
    trouble: str | None
    """The whole error that keeps the model from being used now."""
    reasons: tuple[Reason, ...]
    """Why the next run would do something, and what follows from that."""
    fetched: bool
    """Whether the next run could bring the model here."""
    last: LastReading | None
    hashed: str | None
    """When SHA-256 last went over every byte, of the file for which that is longest ago."""

    @property
    def size(self) -> int:
        """The bytes that its files take now."""
        return sum(self.files.values())

    @property
    def stands(self) -> Stands:
        """How the model stands."""
        lifecycle = None if self.row is None else self.row.lifecycle
        if lifecycle == "Retired":
            return "retired"
        if self.trouble is not None and not self.fetched:
            return "failed"
        if self.row is None:
            return "new"
        if lifecycle == "Failed":
            return "tolerated" if self.row.outcome == "fail" and self.handoff_state == "confirmed" else "failed"
        if lifecycle == "Pending":
            return "pending"
        return "stale" if self.reasons else "current"

    @property
    def why(self) -> tuple[str, ...]:
        """What the next run would act upon, in words, less what only follows."""
        return tuple(reason.text for reason in self.reasons if not reason.follows)

    @property
    def error(self) -> str | None:
        """The whole error of a model that failed, with its fix: what is wrong now, else what was when it was verified."""
        row = self.row
        if self.stands not in {"failed", "tolerated"}:
            return None
        if row is None or (self.trouble is not None and not self.fetched):
            return self.trouble
        if self.stands == "tolerated":  # the catalog holds a line for it: nothing stopped
            wanted, found = str(row.expected), str(row.digest)
            return str(
                DigestMismatchError(row.path or self.reference, wanted, found, accepting=accepting(self.entry, found))
            )
        return row.reason or "the last attempt failed"

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "catalog": None if self.row is None else self.row.as_json(),
            "current": not self.reasons,
            "file_count": len(self.files),
            "last_hashed": self.hashed,
            "last_read": None if self.last is None else vars(self.last),
            "reasons": [{"step": reason.step, "text": reason.text} for reason in self.reasons if not reason.follows],
        }


@dataclass(frozen=True)
class DiskUse:
    """The bytes that some files take, and the names of the models that are made of exactly these."""

    names: tuple[str, ...]
    stands: Stands
    """Of the first of them."""
    size: int


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
        uses = [DiskUse(tuple(each.name for each in some), some[0].stands, some[0].size) for some in found.values()]
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
    known = work.catalog.handoffs(work.config.root, work.config.path)
    return Report(
        config=work.config.path,
        root=work.config.root,
        made_at=made_at,
        models=tuple(_look(work, entry, seen.get(entry.name)) for entry in entries),
        left_over=tuple(sorted(known.keys() - work.config.entries.keys())),
    )


def _look(work: Workspace, entry: Entry, seen: ProvenanceRecord | None) -> ModelReport:
    row = work.catalog.get(work.config.root, entry.name)
    if row is not None and row.id != entry.ref.id:
        row = None  # of what the entry named before
    record = EntryRun(entry)
    with failing(record):
        resolve(work, record)
    files, trouble = record.files, None if record.error is None else str(record.error)
    why = tuple(reasons(work, record))
    if seen is not None and (row is None or (seen.id, seen.digest) != (row.id, row.digest)):
        seen = None
    return ModelReport(
        entry=entry,
        name=entry.name,
        reference=str(entry.ref) if entry.ref.is_local else entry.ref.id,
        path=files.path if files is not None else row.path if row is not None else None,
        engine=entry.engine,
        handoff=entry.handoff,
        handoff_state=_handoff_state(entry, why),
        expected=None if entry.expected is None else str(entry.expected),
        row=row,
        files={} if files is None else _sizes(files),
        trouble=trouble,
        reasons=why,
        fetched=not entry.ref.is_local,
        last=None if seen is None or seen.time is None or seen.how == "stat" else LastReading(seen.time, seen.how),
        hashed=_memorized(work, record, row) if seen is None else seen.hashed,
    )


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
