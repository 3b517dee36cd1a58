"""Sweep: before any work, take back each handoff that can't be confirmed as it stands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.artifacts.state import ensure_state_folder
from model_provisioner.errors import OccupiedError, StorageError
from model_provisioner.tasks.current import confirmed, reasons
from model_provisioner.tasks.withdraw import set_state, withdraw_handoff, withdraw_orphans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.models.config import Entry
    from model_provisioner.tasks.current import Reason
    from model_provisioner.tasks.workspace import Workspace


@dataclass(frozen=True)
class Swept:
    """What a sweep found of an entry: why it is not current, and whether its handoff was there and was withdrawn."""

    reasons: list[Reason]
    withdrawn: bool


def sweep(work: Workspace, entries: Iterable[Entry]) -> dict[str, Swept]:
    """Take back the handoffs of `entries` that can't be confirmed; return what was found, by entry.

    Raises `StorageError` where the records can't be read or believed; then no handoff stays that was not confirmed before
    that, and none that no entry claims.
    """
    found: dict[str, Swept] = {}
    trouble: Exception | None = None
    try:
        ensure_state_folder(work.state)
    except StorageError as error:
        trouble = error
    for entry in entries:
        if trouble is None:
            try:
                found[entry.name] = _look(work, entry)
                continue
            except Exception as error:  # noqa: BLE001  raised below: whatever it is, nothing is confirmed by it
                trouble = error
        with contextlib.suppress(StorageError, OccupiedError):
            withdraw_handoff(work, entry)
    if trouble is not None:
        with contextlib.suppress(StorageError):
            withdraw_orphans(work)
        raise trouble
    return found


def _look(work: Workspace, entry: Entry) -> Swept:
    why = reasons(work, entry)
    if not why or confirmed(work, entry):
        return Swept(why, withdrawn=False)
    # What can't be removed keeps no other model waiting: the entry's own verify step meets the same error and tells it.
    with contextlib.suppress(StorageError, OccupiedError):
        if withdraw_handoff(work, entry):
            if any(reason.step == "verify" for reason in why):
                set_state(work, entry, "Pending")
            return Swept(why, withdrawn=True)
    return Swept(why, withdrawn=False)
