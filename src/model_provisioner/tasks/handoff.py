"""Hand off: publish the JSON that an engine starts from, if everything still is as it was verified."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.artifacts.atomic import read_if_there, write_atomically
from model_provisioner.artifacts.handoff import render
from model_provisioner.artifacts.hashing import identity
from model_provisioner.artifacts.locks import locked
from model_provisioner.tasks.withdraw import check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.artifacts.facts import Facts
    from model_provisioner.artifacts.fileset import FileSet
    from model_provisioner.artifacts.memo import FileDigest
    from model_provisioner.models.config import Entry
    from model_provisioner.models.digest import Digest
    from model_provisioner.tasks.verify import Verification
    from model_provisioner.tasks.workspace import Workspace


class MovedError(Exception):
    """A file is no longer what was verified: verify again. Never leaves the library."""


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
    )


def publish(work: Workspace, entry: Entry, found: Verification) -> bool:
    """Write the handoff of a verified entry; return whether its bytes changed.

    Under the lock of the handoff, the policy is read again and every file looked at again: where they differ nothing is
    written, and `PolicyChangedError` or `MovedError` is raised. Raises as `check_place` does, too.
    """
    data = render_handoff(entry, found.files, found.digests, found.digest, found.facts, found.outcome)
    with locked(work.state, "handoff", entry.handoff):
        work.check_policy(entry)
        if not found.at_rest():
            raise MovedError
        check_place(work, entry)
        work.ledger.record(entry.handoff)
        written = read_if_there(entry.handoff) != data
        if written:
            write_atomically(entry.handoff, data)
        work.written[entry.handoff] = identity(os.stat(entry.handoff))
        return written
