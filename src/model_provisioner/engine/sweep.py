"""Sweep: before any work, withdraw each handoff that can't be confirmed as it stands."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from model_provisioner.engine.up_to_date import confirmed, reasons
from model_provisioner.engine.withdraw import set_pending, withdraw_handoffs
from model_provisioner.errors import StorageError
from model_provisioner.fs.state_folder import ensure_state_folder

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace


def sweep(work: Workspace, records: Collection[EntryRun]) -> set[str]:
    """Withdraw the handoffs of entries that can't be confirmed; note why each is not current. Return those retired.

    Raises `StorageError` where the state folder can't be read or believed; then no handoff stays that was not confirmed
    before that.
    """
    work.roots.let_go()
    unconfirmed: list[EntryRun] = []
    retired: list[EntryRun] = []
    trouble: Exception | None = None
    try:
        ensure_state_folder(work.state)
        work.load([record.entry for record in records])
    except StorageError as error:
        trouble = error
    for record in records:
        try:
            if trouble is None:
                row = work.catalog.get(work.config.root, record.name)
                if row is not None and row.lifecycle == "Retired":
                    retired.append(record)
                    continue
                record.files = None
                record.reasons = reasons(work, record)
                if record.why is None or record.reasons:
                    record.why = record.reasons
                if not record.reasons or confirmed(work, record):
                    continue
        except Exception as error:  # noqa: BLE001  raised below: whatever it is, nothing is confirmed by it
            trouble = error
        unconfirmed.append(record)
    # What can't be removed keeps no other model waiting: the entry's own verify step meets the same error and reports it,
    # and of an entry that comes to none, the face of the run does.
    before = [(record, record.error) for record in (*unconfirmed, *retired)]
    withdrawn = withdraw_handoffs(work, [*unconfirmed, *retired])
    for record, kept in before:
        record.error = kept
    if trouble is not None:
        raise trouble
    to_verify = [
        record.entry for record in withdrawn if any(reason.step == "verify" for reason in record.reasons or ())
    ]
    with contextlib.suppress(StorageError):
        set_pending(work, to_verify)
    return {record.name for record in retired}
