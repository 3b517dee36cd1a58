"""Provision: the steps one after the other, as the Python API takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.errors import ChangingModelError, PolicyChangedError, ProvisionError
from model_provisioner.tasks.fetch import fetch
from model_provisioner.tasks.handoff import MovedError, publish
from model_provisioner.tasks.register import register, row_of
from model_provisioner.tasks.sweep import sweep
from model_provisioner.tasks.verify import verify
from model_provisioner.tasks.withdraw import fail, set_state

if TYPE_CHECKING:
    from model_provisioner.models.config import Entry
    from model_provisioner.tasks.verify import Verification
    from model_provisioner.tasks.workspace import Workspace

TRIES = 3


def provision(work: Workspace, entry: Entry) -> Verification:
    """Take every step for an entry. Raises what the steps raise; then there is no handoff."""
    sweep(work, [entry])
    if not entry.ref.is_local:
        fetch(work, entry)
    verify_and_register(work, entry)
    hand_off(work, entry)
    return work.verified[entry.name]


def verify_and_register(work: Workspace, entry: Entry) -> Verification:
    """Take the first two steps."""
    found = verify(work, entry)
    register(work.catalog, row_of(entry, work.config, found))
    return found


def hand_off(work: Workspace, entry: Entry) -> bool:
    """Publish the handoff; return whether its bytes changed.

    A model that moved since it was verified is verified again, three times at the most: then `ChangingModelError`.
    """
    for _ in range(TRIES):
        found = work.verified.get(entry.name) or verify_and_register(work, entry)
        try:
            return publish(work, entry, found)
        except MovedError:
            work.verified.pop(entry.name, None)
        except PolicyChangedError:
            set_state(work, entry, "Pending")
            raise
        except ProvisionError as trouble:
            fail(work, entry, trouble)
            raise
    error = ChangingModelError(
        "the model keeps changing after it was verified",
        where=found.files.path,
        expected="files at rest",
        found=f"other bytes, times or files after each of {TRIES} verifications",
        fix="wait until what writes them has ended, then run again",
    )
    fail(work, entry, error)
    raise error
