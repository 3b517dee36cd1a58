"""Withdraw: take back what can't be confirmed, before the long work of confirming it begins."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.artifacts.atomic import read_if_there, remove_durably
from model_provisioner.artifacts.catalog import Model
from model_provisioner.artifacts.handoff import is_handoff
from model_provisioner.artifacts.locks import locked
from model_provisioner.errors import DigestMismatchError, OccupiedError

if TYPE_CHECKING:
    from model_provisioner.artifacts.catalog import Lifecycle, Outcome
    from model_provisioner.errors import ProvisionError
    from model_provisioner.models.config import Entry
    from model_provisioner.tasks.workspace import Workspace


def withdraw(work: Workspace, path: str) -> bool:
    """Remove a file that we wrote, durably; return whether it was there."""
    with locked(work.state, "handoff", path):
        return remove_durably(path)


def withdraw_handoff(work: Workspace, entry: Entry) -> bool:
    """Remove the entry's handoff, durably; return whether it was there. Raises as `check_place` does."""
    with locked(work.state, "handoff", entry.handoff):
        check_place(work, entry)
        return remove_durably(entry.handoff)


def check_place(work: Workspace, entry: Entry) -> None:
    """Raise `OccupiedError` where something stands in the handoff's place that we did not write and that is no handoff."""
    if not os.path.lexists(entry.handoff) or entry.handoff in work.ledger:
        return
    data = read_if_there(entry.handoff)
    if data is None or not is_handoff(data):
        raise OccupiedError(
            f"the place of the handoff of {entry.name} is taken",
            where=entry.handoff,
            expected="no file, or a handoff",
            found="something else, which was left as it is",
            fix=f"move it away, or give {entry.name} another handoff in {work.config.path}",
        )


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
    withdraw_handoff(work, entry)
    _set_state(work, entry, "Pending", outcome=None, reason=None)


def fail(work: Workspace, entry: Entry, error: ProvisionError) -> None:
    """Take back what the entry's last verification gave, for it failed."""
    with contextlib.suppress(OccupiedError):
        withdraw_handoff(work, entry)
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
