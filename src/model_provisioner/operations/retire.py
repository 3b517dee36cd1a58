"""Retire: take a model out of service by hand, and put it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.withdrawal.withdraw import set_state, withdraw, withdraw_handoffs
from model_provisioner.fs.state_folder import ensure_state_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import ProvisionError

UNDONE = "its retirement was undone"


def retire(work: Workspace, entries: Sequence[Entry]) -> set[str]:
    """Retire entries: withdraw their handoffs, and have no run write them again. Return those that were not retired before.

    The catalog comes first: a run that is at work on one of them sees it there, under the lock of the handoff, and
    publishes nothing; a kill before the withdrawal leaves that to the next run.
    """
    ensure_state_folder(work.state)
    before = work.catalog.retired(work.config.root)
    fresh = [entry for entry in entries if entry.name not in before]
    _raise_first(set_state(work, fresh, "Retired", by="hand"))
    withdraw_handoffs(work, records := [EntryRun(entry) for entry in entries])
    _raise_first({record.name: record.stands for record in records if record.stands is not None})
    for entry in entries:
        withdraw(work, work.sha256_target(entry))
    return {entry.name for entry in fresh}


def unretire(work: Workspace, entries: Sequence[Entry]) -> set[str]:
    """Let the next run verify retired entries and hand them off again. Return those that were retired."""
    ensure_state_folder(work.state)
    before = work.catalog.retired(work.config.root)
    back = [entry for entry in entries if entry.name in before]
    _raise_first(set_state(work, back, "Pending", by="hand", reason=UNDONE))
    return {entry.name for entry in back}


def _raise_first(refused: Mapping[str, ProvisionError]) -> None:
    for error in refused.values():
        raise error
