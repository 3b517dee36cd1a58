"""Withdraw: take back what can't be confirmed, before the long work of confirming it begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.artifacts.atomic import remove_durably
from model_provisioner.artifacts.catalog import Model
from model_provisioner.artifacts.locks import locked
from model_provisioner.errors import DigestMismatchError

if TYPE_CHECKING:
    from model_provisioner.artifacts.catalog import Lifecycle, Outcome
    from model_provisioner.errors import ProvisionError
    from model_provisioner.models.config import Entry
    from model_provisioner.tasks.workspace import Workspace


def withdraw(work: Workspace, path: str) -> bool:
    """Remove the handoff (or `.sha256` target) at `path`, durably; return whether it was there."""
    with locked(work.state, "handoff", path):
        return remove_durably(path)


def has_orphans(work: Workspace) -> bool:
    """Tell whether there are artifacts or catalog rows of this project that no entry claims any more."""
    return bool(_orphaned_artifacts(work) or _orphaned_rows(work))


def withdraw_orphans(work: Workspace) -> list[str]:
    """Remove the artifacts and rows that no entry claims; return the artifacts that were still there."""
    removed = []
    for path in _orphaned_artifacts(work):
        if withdraw(work, path):
            removed.append(path)
        work.ledger.forget(path)
    if names := _orphaned_rows(work):
        work.catalog.remove(work.config.root, names)
    return removed


def _orphaned_artifacts(work: Workspace) -> list[str]:
    claimed = {entry.handoff for entry in work.config.entries.values()}
    claimed.update(work.sha256_target(entry) for entry in work.config.entries.values())
    return sorted(work.ledger.artifacts() - claimed)


def _orphaned_rows(work: Workspace) -> list[str]:
    return sorted(work.catalog.names(work.config.root) - work.config.entries.keys())


def pend(work: Workspace, entry: Entry) -> None:
    """Take back what the entry's last verification gave, for its bytes are about to be read."""
    withdraw(work, entry.handoff)
    _set_state(work, entry, "Pending", outcome=None, reason=None)


def fail(work: Workspace, entry: Entry, error: ProvisionError) -> None:
    """Take back what the entry's last verification gave, for it failed."""
    withdraw(work, entry.handoff)
    withdraw(work, work.sha256_target(entry))
    work.verified.pop(entry.name, None)
    _set_state(
        work,
        entry,
        "Failed",
        outcome="fail" if isinstance(error, DigestMismatchError) else "error",
        reason=str(error),
    )


def _set_state(
    work: Workspace, entry: Entry, lifecycle: Lifecycle, *, outcome: Outcome | None, reason: str | None
) -> None:
    row = work.catalog.get(work.config.root, entry.name) or Model(
        project=work.config.root, name=entry.name, id=entry.ref.id, lifecycle=lifecycle
    )
    work.catalog.put(replace(row, id=entry.ref.id, lifecycle=lifecycle, outcome=outcome, reason=reason))
