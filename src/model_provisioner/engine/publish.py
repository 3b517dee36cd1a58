"""Hand off: publish the JSON that an engine starts from, if everything still is as it was verified."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.engine.withdraw import check_place, publishing, retired_error
from model_provisioner.errors import failing
from model_provisioner.fs.atomic import drafted, read_if_there
from model_provisioner.fs.identity import identity
from model_provisioner.records.handoff import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.examine import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import ProvisionError
    from model_provisioner.fs.atomic import Draft
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.headers.metadata import Facts
    from model_provisioner.references.digest import Digest


class MovedError(Exception):
    """A file is no longer what was verified, or what was written: verify again. Never leaves the library."""


def render_handoff(
    entry: Entry, files: FileSet, digests: Sequence[FileDigest], digest: Digest, facts: Facts, outcome: str
) -> bytes:
    """Return the bytes of an entry's handoff."""
    return render(
        id=entry.ref.id,
        path=files.path,
        engine=entry.engine,
        digest=digest,
        files=digests,
        facts=facts,
        outcome=outcome,
        roles=[member.role for member in files.members],
        companions=files.companions,
    )


def handoff_of(entry: Entry, found: Verification) -> bytes:
    """Return the bytes of the handoff that an entry gets for a verification."""
    return render_handoff(entry, found.files, found.digests, found.digest, found.facts, found.outcome)


def publish(
    work: Workspace, verified: Sequence[tuple[Entry, Verification]]
) -> dict[str, bool | MovedError | ProvisionError]:
    """Write the handoffs of verified entries; return by entry whether its bytes changed, or what kept it from being written.

    Just before the rename, under the locks of the handoffs, the policy is read again and every file looked at again: where
    they differ nothing is written, which is a `PolicyChangedError` or `MovedError`; nor is it for a model that was retired
    meanwhile. What stands in the place of a handoff
    and is none is an `OccupiedError`.
    """
    results: dict[str, bool | MovedError | ProvisionError] = {}
    data = {entry.handoff: handoff_of(entry, found) for entry, found in verified}
    changed = {path: wanted for path, wanted in data.items() if read_if_there(path) != wanted}
    with drafted(changed) as (drafts, errors):
        ready = {draft.path: draft for draft in drafts}
        with failing(results, [entry.name for entry, _ in verified]), publishing(work, data):
            retired = work.catalog.retired(work.config.root)
            for entry, _ in verified:
                with failing(results, [entry.name]):
                    if entry.name in retired:
                        raise retired_error(work, entry)
                    check_place(work, entry)
            work.ledger.record(entry.handoff for entry, _ in verified if entry.name not in results)
            for entry, found in verified:
                if entry.name not in results:
                    with failing(results, [entry.name]):
                        if entry.handoff in errors:
                            raise errors[entry.handoff]
                        results[entry.name] = _publish(work, entry, found, data, ready.get(entry.handoff))
    return results


def _publish(
    work: Workspace, entry: Entry, found: Verification, data: dict[str, bytes], draft: Draft | None
) -> bool | MovedError:
    """Put one handoff in its place if everything still is as it was verified; without a draft it is there already."""
    work.check_policy(entry)
    is_there = draft is not None or read_if_there(entry.handoff) == data[entry.handoff]
    if not is_there or not found.at_rest():
        return MovedError()
    status = os.stat(entry.handoff) if draft is None else draft.publish()
    work.written[entry.handoff] = identity(status)
    return draft is not None
