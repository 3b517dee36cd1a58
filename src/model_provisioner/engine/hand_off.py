"""Hand off: verify, register and publish entries, and once more where one moved meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.publish import publish
from model_provisioner.engine.register import register
from model_provisioner.engine.verify import judge, read
from model_provisioner.engine.withdrawal.withdraw import POLICY_CHANGED, fail, set_pending
from model_provisioner.errors import ChangingModelError, PolicyChangedError, ProvisionError
from model_provisioner.references.reference import LocalRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.verification.reader import Reader
    from model_provisioner.engine.workspace import Workspace

TRIES = 3
"""How often a model that moves after it was verified is verified again."""


def hand_off(work: Workspace, records: Sequence[EntryRun]) -> None:
    """Verify entries, register them and publish their handoffs; each is `published` afterwards or has its `error`.

    One that this run verified before is not verified again, unless it moved since: that is done three times at the most, and
    then it is a `ChangingModelError`.
    """
    unread = [record for record in records if record.verification is None]
    _hand_off(work, records, [read(work, unread)] if unread else [])


def hand_off_read(work: Workspace, readers: Sequence[Reader]) -> None:
    """Do with entries that were read what is left to hand them off."""
    readers = [reader for reader in readers if reader.records]
    _hand_off(work, [record for reader in readers for record in reader.records], readers)


def _hand_off(work: Workspace, records: Sequence[EntryRun], readers: Sequence[Reader]) -> None:
    """Judge what was read, register and publish all; what moved since is read again, by this thread: that is rare."""
    left = records
    for turn in range(TRIES):
        if turn:
            readers = [read(work, left)]
        if readers:
            judge(work, readers)
            register(work, [record for reader in readers for record in reader.records])
        ready = [record for record in left if record.error is None]
        publish(work, ready)
        for record in ready:
            if record.error is not None:
                _withdraw(work, record, record.error)
        left = [record for record in ready if record.error is None and not record.published]
        if not left:
            return
    for record in left:
        error = ChangingModelError(
            "the model keeps changing after it was verified",
            where=record.entry.ref.path if isinstance(record.entry.ref, LocalRef) else record.entry.ref.id,
            expected="files at rest",
            found=f"other bytes, times or files after each of {TRIES} verifications",
            fix="wait until what writes them has ended, then run again",
        )
        fail(work, record, error)


def _withdraw(work: Workspace, record: EntryRun, error: ProvisionError) -> None:
    """Withdraw what an entry has that can't be handed off: its policy may have changed, else it failed."""
    if not isinstance(error, PolicyChangedError):
        fail(work, record, error)
        return
    try:
        set_pending(work, [record.entry], POLICY_CHANGED)
    except ProvisionError as worse:
        record.error = worse
