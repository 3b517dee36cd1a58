"""What an engine is to load of a model that is handed off and current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import counting
from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.withdrawal.withdraw import retired_error
from model_provisioner.errors import NotCurrentError
from model_provisioner.fs.identity import identity_or_none
from model_provisioner.invocation import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet


def files_to_load(work: Workspace, entry: Entry) -> FileSet:
    """Return what the handoff of an entry names. Raises `RetiredModelError`, and `NotCurrentError`, which says why.

    Bytes are read only where their times can't vouch for them: on file systems whose times lie, and of files that were
    verified as soon as they were written.
    """
    if entry.name in work.catalog.retired(work.config.root):
        raise retired_error(work, entry)
    record = EntryRun(entry)
    found = reasons(work, record)
    if found and (unsure := list(_unsure(work, record))):
        work.memo.compare(unsure, counting(work.progress))
        found = reasons(work, record)
    if found:
        why = [reason.text for reason in found if not reason.follows]
        raise NotCurrentError(
            f"{entry.name} is not handed off as it is now",
            where=entry.handoff,
            expected="a handoff that the last run wrote of what is here",
            found="; ".join(why),
            fix=f"run {command('provision')}, which says what is wrong, or hands it off",
        )
    return resolve(work, record)


def _unsure(work: Workspace, record: EntryRun) -> Iterator[str]:
    """Yield the files of an entry that did not move since they were verified, and are not known by that."""
    members = () if record.files is None else record.files.members
    signature = () if record.entry.signature is None else record.entry.signature.files
    for path in (*(member.path for member in members), *signature):
        row = work.memo.last(path)
        if row is None or work.memo.known(path) is not None or not work.memo.is_ground(row):
            continue
        if row.identity == identity_or_none(path):
            yield path
