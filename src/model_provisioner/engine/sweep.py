"""Sweep: before any work, take back each handoff that can't be confirmed as it stands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.engine.up_to_date import confirmed, reasons
from model_provisioner.engine.withdraw import set_pending, withdraw_handoffs, withdraw_orphans
from model_provisioner.errors import StorageError
from model_provisioner.fs.state_folder import ensure_state_folder

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.up_to_date import Reason
    from model_provisioner.engine.workspace import Workspace


@dataclass(frozen=True)
class Swept:
    """What a sweep found of an entry: why it is not current, and whether its handoff was there and was withdrawn."""

    reasons: list[Reason]
    withdrawn: bool
    retired: bool = False
    """Whether nothing is to be done for it, whatever the reasons."""


def sweep(work: Workspace, entries: Collection[Entry]) -> dict[str, Swept]:
    """Take back the handoffs of `entries` that can't be confirmed; return what was found, by entry.

    Raises `StorageError` where the records can't be read or believed; then no handoff stays that was not confirmed before
    that, and none that no entry claims.
    """
    why: dict[str, list[Reason]] = {}
    unconfirmed: list[Entry] = []
    retired: list[Entry] = []
    trouble: Exception | None = None
    try:
        ensure_state_folder(work.state)
        work.load(entries)
    except StorageError as error:
        trouble = error
    for entry in entries:
        try:
            if trouble is None:
                row = work.catalog.get(work.config.root, entry.name)
                if row is not None and row.lifecycle == "Retired":
                    retired.append(entry)
                    continue
                why[entry.name] = reasons(work, entry)
                if not why[entry.name] or confirmed(work, entry):
                    continue
        except Exception as error:  # noqa: BLE001  raised below: whatever it is, nothing is confirmed by it
            trouble = error
        unconfirmed.append(entry)
    # What can't be removed keeps no other model waiting: the entry's own verify step meets the same error and tells it.
    withdrawn = {
        name for name, was_there in withdraw_handoffs(work, [*unconfirmed, *retired]).items() if was_there is True
    }
    if trouble is not None:
        with contextlib.suppress(StorageError):
            withdraw_orphans(work)
        raise trouble
    to_verify = [
        entry
        for entry in unconfirmed
        if entry.name in withdrawn and any(reason.step == "verify" for reason in why[entry.name])
    ]
    with contextlib.suppress(StorageError):
        set_pending(work, to_verify)
    swept = {name: Swept(found, withdrawn=name in withdrawn) for name, found in why.items()}
    return swept | {each.name: Swept([], withdrawn=each.name in withdrawn, retired=True) for each in retired}
