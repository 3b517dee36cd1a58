"""Fetch the files of a remote reference into the store, if the policy allows. Offline by default.

What is on this disk already is not fetched: in the store, or with the right digest in the cache of another program.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.fetching.part import PartFetch, known_files
from model_provisioner.engine.fetching.wanted import Requests
from model_provisioner.engine.fetching.wrong import is_right, put_away_replaced, wrong_record
from model_provisioner.engine.resolve import record_of, resolve_entry, stored_files
from model_provisioner.engine.withdrawal.withdraw import FETCHED, fail, pend
from model_provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import Listing


def is_present(work: Workspace, record: EntryRun) -> bool:
    """Tell whether the remote files of an entry are here, without reading a byte. From then on they are leased: not evicted."""
    return not _missing(work, record.entry)


def _missing(work: Workspace, entry: Entry) -> list[Entry]:
    """Return the remote parts of an entry that are not here, or wrong, and lease the others."""
    remote = [part for part in entry.parts if not part.ref.is_local]
    wrong = [part for part in remote if wrong_record(work.store, part) is not None]
    if wrong and is_right(work.store, entry):  # as it is asked for now: an adapter, say, that was named as the model
        wrong = []
    return [part for part in remote if part in wrong or not _is_leased(work, part)]


def _is_leased(work: Workspace, entry: Entry) -> bool:
    try:
        resolve_entry(entry, work.store)
        if work.lease.use(stored_files(entry, work.store).values()):
            resolve_entry(entry, work.store)  # they may have gone before that was noted
    except ProvisionError:
        return False
    return True


def fetch(work: Workspace, record: EntryRun, check: Callable[[], None] = lambda: None) -> None:
    """Fetch the model of a remote entry and its remote companions, unless they are here; its handoff is withdrawn first.

    `check` is called now and then, and raises to give up.

    Where that is not done, the entry has failed: with a `NotAllowedError` where the policy says no, `NotLockedError`,
    `FetchError`, `DigestMismatchError` or `StorageError`.
    """
    missing = _missing(work, record.entry)
    if not missing:
        return
    try:
        pend(work, [record], FETCHED)
        if record.error is not None:
            raise record.error
        _fetch_parts(work, record, missing, check)
    except ProvisionError as error:
        fail(work, record, error)


def fetch_for_program(work: Workspace, record: EntryRun) -> None:
    """Fetch the model of an entry of no project, unless it is here. Raises what `fetch` fails with, and notes nothing of it."""
    _fetch_parts(work, record, _missing(work, record.entry), lambda: None)


def _fetch_parts(work: Workspace, record: EntryRun, missing: Sequence[Entry], check: Callable[[], None]) -> None:
    for part in missing:
        requests = Requests.begin(work)  # before the look: what others record after it is not missed
        if (wrong := wrong_record(work.store, part)) is None:
            last = record_of(part, work.store)
            PartFetch(work, record, part, requests, check, last, known_files(part, last)).run()
        else:
            PartFetch(work, record, part, replace(requests, anew=True), check).run()
            put_away_replaced(work.store, wrong)
    record.changed_outside()


def fetch_anew(work: Workspace, part: Entry) -> None:
    """Fetch what the source of a remote entry has now, whatever it had before.

    What was handed off stays until the entry is verified again: nothing of it is touched. Raises what `fetch` fails with.
    """
    PartFetch(work, EntryRun(part), part, replace(Requests.begin(work), anew=True), lambda: None).run()


def listing_of(work: Workspace, part: Entry) -> Listing:
    """Return what the source of a remote entry says that it has now. Nothing is fetched.

    Raises `NotAllowedError` where the policy says no, `FetchError`, and what keeps the files from being used.
    """
    return PartFetch(work, EntryRun(part), part, Requests.begin(work), lambda: None).listing(None)
