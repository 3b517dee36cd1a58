"""Provision: take every step for entries of a project, and say what became of each."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model_provisioner.config.entries import unknown_name
from model_provisioner.engine.withdrawal.withdraw import retired_error
from model_provisioner.errors import FailedModelsError
from model_provisioner.references.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run
    from model_provisioner.errors import ProvisionError, StorageError
    from model_provisioner.hashing.memo import How
    from model_provisioner.records.lifecycle import Lifecycle


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What became of one model. What is not known, or not there, is None."""

    name: str
    """As `models.yaml` has it."""
    id: str
    state: Lifecycle | None
    """The state in the catalog: "Active" where it is handed off."""
    outcome: Literal["pass", "warn", "fail", "error"] | None
    """Of its last verification: as expected; nothing was expected; other bytes (which a lenient entry hands off); no result."""
    digest: Digest | None
    """Of the bytes that were found, also of wrong ones; None where they are not known."""
    size: int | None
    """In bytes, all files together."""
    path: Path | None
    """What an engine loads; None unless the model is handed off."""
    handoff: Path | None
    """The handoff, which this call wrote or confirmed; None where there is none."""
    how: How | None
    """How the bytes were confirmed: "hashed" (SHA-256 of all), "xxh3" (a fingerprint) or "stat" (they did not move)."""
    error: ProvisionError | None
    """Why there is no handoff; None too for a retired model that nobody named."""

    @property
    def ok(self) -> bool:
        """Whether it did not fail."""
        return self.error is None


@dataclass(frozen=True, kw_only=True)
class ProvisionResult:
    """What became of the models of one call, in the order of `models.yaml` or of the names that were given."""

    models: tuple[ModelResult, ...]
    removed: tuple[Path, ...]
    """The artifacts that were removed because no entry claims them any more."""
    trouble: tuple[StorageError, ...]
    """What kept others of these from being removed. It is no model's fault, and nothing is `ok` as long as they stand."""

    def __iter__(self) -> Iterator[ModelResult]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __getitem__(self, name: str) -> ModelResult:
        """Return the result of the model `name`. Raises `KeyError`."""
        for each in self.models:
            if each.name == name:
                return each
        raise KeyError(name)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.trouble and all(each.ok for each in self.models)

    def raise_for_failures(self) -> None:
        """Raise `FailedModelsError`, which has every error, unless all is `ok`."""
        if not self.ok:
            failures = {each.name: each.error for each in self.models if each.error is not None}
            raise FailedModelsError(failures, self.trouble, len(self.models))


def provision(run: Run, names: Sequence[str] | None, workers: int) -> ProvisionResult:
    """Take every step for these entries, or for all; no failure of one keeps another from being done.

    Raises `UnknownModelError` for a name that no entry has, before anything is done, and `StorageError` where the records can't
    be read or believed; then no handoff of these entries stays that was not confirmed before that.
    """
    entries = run.work.config.entries
    for name in names or ():
        if name not in entries:
            raise unknown_name(name, run.work.config)
    chosen = list(entries) if names is None else list(dict.fromkeys(names))
    try:
        run.sweep(chosen, orphans=names is None)
        with closing(run.provision_left(chosen, workers)) as batches:
            for _ in batches:
                pass
    finally:
        run.finish()
    for name in run.retired.intersection(chosen if names is not None else ()):
        run.record(name).error = retired_error(run.work, entries[name])
    return ProvisionResult(
        models=tuple(_result(run, run.record(name)) for name in chosen),
        removed=tuple(map(Path, run.orphans)),
        trouble=tuple(run.trouble),
    )


def _result(run: Run, record: EntryRun) -> ModelResult:
    row = run.work.catalog.get(run.work.config.root, record.name)
    error = record.stands or record.error
    outcome = None if row is None or row.id != record.entry.ref.id else row.outcome
    digest = row.digest if row is not None and outcome in {"pass", "warn", "fail"} else None
    is_handed_off = error is None and record.name not in run.retired
    return ModelResult(
        name=record.name,
        id=record.entry.ref.id,
        state=None if row is None else row.lifecycle,
        outcome=outcome,
        digest=None if digest is None else Digest.parse(digest),
        size=row.size if row is not None and is_handed_off else None,
        path=Path(row.path) if row is not None and row.path is not None and is_handed_off else None,
        handoff=Path(record.entry.handoff) if is_handed_off else None,
        how=None if not is_handed_off else "stat" if record.verification is None else record.verification.how,
        error=error,
    )
