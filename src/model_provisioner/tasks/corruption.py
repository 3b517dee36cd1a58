"""Corruption: bytes that are not the verified ones, in files that nobody is known to have changed.

A file that somebody changes has another size or modification time. Where both are as they were, a disk, a cable or a hand that
hid its work did it; the stat identity may not tell, so only a reading in full looks for it. What it found is kept in the
catalog: neither the memo, which knows the new bytes by then, nor a policy without a digest makes them good again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from model_provisioner.artifacts.catalog import now
from model_provisioner.errors import CorruptModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.artifacts.catalog import Model
    from model_provisioner.artifacts.memo_rows import Row
    from model_provisioner.tasks.examine import Verification

IN_FULL = "a verification in full was begun"
"""The reason of a Pending row whose model is read in full. A kill leaves it, and some files in the memo as they are now."""


def is_in_full(row: Model | None) -> bool:
    """Tell whether a model is being read in full, or was when that run was killed."""
    return row is not None and row.lifecycle == "Pending" and row.reason == IN_FULL


def corruption(row: Model | None, found: Verification, before: Mapping[str, Row | None]) -> CorruptModelError | None:
    """Return the error for a verification that found other bytes than the catalog's `row` has, where nobody changed them.

    `before` has what the memo knew of the files that were read, by path, before they were. Bytes that are expected are good.
    """
    digest = str(found.digest)
    if row is None or row.id != found.ref.id or row.digest in (None, digest) or found.outcome == "pass":
        return None
    if row.corrupt != digest and not (is_in_full(row) and _changed_silently(row, found, before)):
        return None
    return CorruptModelError(found.files.path, str(row.digest), digest)


def _changed_silently(row: Model, found: Verification, before: Mapping[str, Row | None]) -> bool:
    contradicted = False
    for digest in found.digests:
        last = before.get(digest.path)
        if last is None:
            continue
        if (last.identity.size, last.identity.mtime_ns) != (digest.identity.size, digest.identity.mtime_ns):
            return False
        contradicted = contradicted or last.sha256 != digest.sha256
    if contradicted:
        return True
    # The memo was lost, or another run told it meanwhile: the times tell. One that lies ahead of the clock says nothing.
    if row.verified_at is None or row.verified_at > now() or row.size != found.size:
        return False
    verified = datetime.fromisoformat(row.verified_at).timestamp() * 1e9
    return all(digest.identity.mtime_ns < verified for digest in found.digests)
