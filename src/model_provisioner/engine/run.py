"""Provision: the steps one after the other, as the Python API takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.examine import Verification
from model_provisioner.engine.fetch import fetch
from model_provisioner.engine.publish import MovedError, publish
from model_provisioner.engine.register import register, row_of
from model_provisioner.engine.sweep import sweep
from model_provisioner.engine.verify import verify
from model_provisioner.engine.withdraw import fail, retired_error, set_pending
from model_provisioner.errors import ChangingModelError, PolicyChangedError, ProvisionError, failing
from model_provisioner.references.reference import LocalRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import InvalidMoveError

TRIES = 3


def provision(work: Workspace, entry: Entry) -> Verification:
    """Take every step for an entry. Raises what the steps raise, `RetiredModelError` too; then there is no handoff."""
    if sweep(work, [entry])[entry.name].retired:
        raise retired_error(work, entry)
    if not entry.is_local:
        fetch(work, entry)
    work.verified.pop(entry.name, None)
    result = hand_off(work, [entry])[entry.name]
    if isinstance(result, ProvisionError):
        raise result
    return work.verified[entry.name]


def verify_and_register(work: Workspace, entries: Sequence[Entry]) -> dict[str, Verification | ProvisionError]:
    """Take the first two steps for entries; return by entry what was found."""
    results = verify(work, entries)
    rows = {
        entry.name: row_of(entry, work.config, found)
        for entry in entries
        if isinstance(found := results[entry.name], Verification)
    }
    refused: dict[str, InvalidMoveError] = {}
    with failing(results, rows):
        refused = register(work.catalog, rows.values())
    for name, error in refused.items():
        results[name] = _withdrawn(work, work.config.entries[name], error)
    return results


def hand_off(work: Workspace, entries: Sequence[Entry]) -> dict[str, bool | ProvisionError]:
    """Publish the handoffs of entries, after the steps before it for those that this run did not verify.

    Return by entry whether the bytes of its handoff changed, or the error for which it has none. A model that moved since it
    was verified is verified again, three times at the most: then that is a `ChangingModelError`.
    """
    results: dict[str, bool | ProvisionError] = {}
    left = list(entries)
    for _ in range(TRIES):
        found = verify_and_register(work, [entry for entry in left if entry.name not in work.verified])
        results.update((name, each) for name, each in found.items() if isinstance(each, ProvisionError))
        ready = [entry for entry in left if entry.name not in results]
        published = publish(work, [(entry, work.verified[entry.name]) for entry in ready])
        left = [entry for entry in ready if isinstance(published[entry.name], MovedError)]
        for entry in left:
            del work.verified[entry.name]
        for entry in ready:
            if not isinstance(each := published[entry.name], MovedError):
                results[entry.name] = _withdrawn(work, entry, each) if isinstance(each, ProvisionError) else each
        if not left:
            return results
    for entry in left:
        error = ChangingModelError(
            "the model keeps changing after it was verified",
            where=entry.ref.path if isinstance(entry.ref, LocalRef) else entry.ref.id,
            expected="files at rest",
            found=f"other bytes, times or files after each of {TRIES} verifications",
            fix="wait until what writes them has ended, then run again",
        )
        results[entry.name] = _withdrawn(work, entry, error)
    return results


def _withdrawn(work: Workspace, entry: Entry, error: ProvisionError) -> ProvisionError:
    """Take back what an entry has for which there is no handoff; return the error that tells why."""
    try:
        if isinstance(error, PolicyChangedError):
            set_pending(work, [entry])
        else:
            fail(work, entry, error)
    except ProvisionError as worse:
        return worse
    return error
