"""Sweep: before any work, withdraw each handoff that can't be confirmed as it stands."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from model_provisioner.config.paths import is_below
from model_provisioner.engine.events import ReadingBegins, counting
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.withdrawal.withdraw import WITHDRAWN, set_pending, unseen, withdraw_handoffs
from model_provisioner.engine.workspace import roots_of
from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import remove_all_durably
from model_provisioner.fs.identity import size_or_zero
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.records.handoff import handoff_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.entries import Config
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace


def sweep(work: Workspace, records: Collection[EntryRun]) -> set[str]:
    """Withdraw the handoffs of entries that can't be confirmed; note why each is not current. Return those retired.

    Where only a file system's times can't be believed, a handoff stands while the bytes are compared, after all others that
    can't be confirmed are gone.

    Raises `StorageError` where the state folder can't be read or believed; then no handoff stays that was not confirmed
    before that.
    """
    doubted: list[EntryRun] = []
    retired = _withdraw_unconfirmed(work, records, doubted)
    if doubted:
        _compare(work, doubted)
        retired |= _withdraw_unconfirmed(work, doubted, [])
    return retired


def _compare(work: Workspace, records: Collection[EntryRun]) -> None:
    """Read the files of entries that are known but for their file system."""
    paths = []
    for record in records:
        mine = [reason.touched for reason in record.reasons or () if reason.doubted]
        work.progress(ReadingBegins(record.name, sum(map(size_or_zero, mine))))
        paths += mine
    work.memo.compare(paths, counting(work.progress))


def _withdraw_unconfirmed(work: Workspace, records: Collection[EntryRun], doubted: list[EntryRun]) -> set[str]:
    """Do as `sweep` does, but put aside into `doubted` the entries whose bytes have to be compared, as long as all is well."""
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
                to_verify = [reason.doubted for reason in record.reasons if reason.step == "verify"]
                if to_verify and all(to_verify):
                    doubted.append(record)
                    continue
                if record.why is None or record.reasons:
                    record.why = record.reasons
                if all(reason.confirmed for reason in record.reasons if reason.step == "handoff"):
                    continue
        except Exception as error:  # noqa: BLE001  raised below: whatever it is, nothing is confirmed by it
            trouble = error
        unconfirmed.append(record)
    if trouble is not None:
        unconfirmed += doubted
    # What can't be removed keeps no other model waiting: the entry's own verify step meets the same error and reports it,
    # and of an entry that comes to none, the face of the run does.
    before = [(record, record.error) for record in (*unconfirmed, *retired)]
    withdrawn = withdraw_handoffs(work, [*unconfirmed, *retired])
    for record, kept in before:
        record.error = kept
    if trouble is not None:
        raise trouble
    pending = [record.entry for record in withdrawn if any(reason.step == "verify" for reason in record.reasons or ())]
    with contextlib.suppress(StorageError):
        set_pending(work, pending, WITHDRAWN)
    return {record.name for record in retired}


def withdraw_all(config: Config) -> tuple[list[str], list[StorageError]]:
    """Remove the handoffs of a configuration, durably, without any record: what is no handoff stays.

    Return the names of the entries that had one, and what keeps others from being removed or seen.
    """
    by_path = {entry.handoff: entry for entry in config.entries.values()}
    with roots_of(config) as roots:
        found = {path: handoff_id(roots.read(path) or b"") for path in by_path}
        ours = [
            path
            for path, model_id in found.items()
            if model_id is not None and (is_below(path, config.root) or model_id == by_path[path].ref.id)
        ]
        removed = remove_all_durably(ours, roots)
        trouble = [error for error in removed.values() if isinstance(error, StorageError)]
        trouble += unseen(roots, by_path.keys() - removed.keys()).values()
    return [by_path[path].name for path, was_there in removed.items() if was_there is True], trouble
