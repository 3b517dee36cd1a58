"""Hand off: publish the JSON that an engine starts from, if everything still is as it was verified."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import failing
from model_provisioner.engine.withdrawal.withdraw import check_place, publishing, retired_error
from model_provisioner.fs.atomic import drafted
from model_provisioner.fs.identity import identity
from model_provisioner.records.handoff import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.atomic import Draft
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.headers.metadata import Metadata
    from model_provisioner.references.digest import Digest


def render_handoff(
    entry: Entry, files: FileSet, digests: Sequence[FileDigest], digest: Digest, metadata: Metadata, outcome: str
) -> bytes:
    """Return the bytes of an entry's handoff."""
    return render(
        id=entry.ref.id,
        path=files.path,
        engine=entry.engine,
        digest=digest,
        files=digests,
        metadata=metadata,
        outcome=outcome,
        roles=[member.role for member in files.members],
        companions=files.companions,
    )


def handoff_of(entry: Entry, found: Verification) -> bytes:
    """Return the bytes of the handoff that an entry gets for a verification."""
    return render_handoff(entry, found.files, found.digests, found.digest, found.metadata, found.outcome)


def publish(work: Workspace, records: Sequence[EntryRun]) -> None:
    """Write the handoffs of verified and registered entries.

    Just before the rename, under the locks of the handoffs, the policy is read again and every file is compared by stat. Where
    the policy differs nothing is written, which is a `PolicyChangedError`; nor is it for a model that was retired meanwhile.
    What stands in the place of a handoff and is none is an `OccupiedError`. A model that moved is neither `published` nor
    failed: it has to be verified again, and loses its `verification`.
    """
    data = {each.entry.handoff: handoff_of(each.entry, each.verification) for each in records if each.verification}
    work.roots.let_go()  # what is in the folders that are at these paths now counts
    changed = {path: wanted for path, wanted in data.items() if work.roots.read(path) != wanted}
    with failing(*records), drafted(changed, work.roots) as (drafts, errors):
        ready = {draft.path: draft for draft in drafts}
        with failing(*records), publishing(work, data):
            retired = work.catalog.retired(work.config.root)
            for record in records:
                with failing(record):
                    if record.name in retired:
                        raise retired_error(work, record.entry)
                    check_place(work, record.entry)
            work.build_record.record(record.entry.handoff for record in records if record.error is None)
            for record in records:
                with failing(record):
                    path = record.entry.handoff
                    if record.error is None:
                        if path in errors:
                            raise errors[path]
                        _publish(work, record, data[path], ready.get(path))


def _publish(work: Workspace, record: EntryRun, data: bytes, draft: Draft | None) -> None:
    """Put one handoff in its place if everything still is as it was verified; without a draft it is there already."""
    work.check_policy(record.entry)
    path = record.entry.handoff
    is_there = draft is not None or work.roots.read(path) == data
    if record.verification is None or not is_there or not record.verification.at_rest():
        record.verification = None
        return
    record.artifacts[path] = identity(os.stat(path) if draft is None else draft.publish())
    record.published, record.changed = True, draft is not None
    record.withdrawn, record.stands, record.reasons = False, None, None
