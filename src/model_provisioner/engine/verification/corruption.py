"""Corruption: bytes that are not the verified ones, in files that nobody is known to have changed.

A file that somebody changes has another size or modification time. Where both are as they were, a disk, a cable or a hand that
hid its work did it; the stat identity may not tell, so only a reading in full looks for it. What it found is kept in the
catalog: neither the memo, which knows the new bytes by then, nor a policy without a digest makes them good again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from model_provisioner.config.entries import accepting
from model_provisioner.errors import CorruptModelError, DamagedError, StorageError
from model_provisioner.invocation import command as called
from model_provisioner.records.catalog.catalog import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.hashing.memo_rows import Row
    from model_provisioner.records.catalog.catalog import Model
    from model_provisioner.store.store import Store

IN_FULL = "a verification in full was begun"
"""The reason of a Pending row whose model is read in full. A kill leaves it, and some files in the memo as they are now."""

NAMED = 5
"""How many of the files of a set that changed are named."""


def is_in_full(row: Model | None) -> bool:
    """Tell whether a model is being read in full, or was when that run was killed."""
    return row is not None and row.lifecycle == "Pending" and row.reason == IN_FULL


def corruption(row: Model | None, found: Verification, before: Mapping[str, Row | None]) -> CorruptModelError | None:
    """Return the error for a verification that found other bytes than the catalog's `row` has, where nobody changed them.

    `before` has what the memo knew of the files that were read, by path, before they were. Bytes that are expected are good.
    """
    digest = str(found.digest)
    if row is None or row.id != found.ref.id or row.digest in (None, digest) or found.is_expected:
        return None
    changed = [
        member.name
        for member, each in zip(found.files.members, found.digests, strict=True)
        if (last := before.get(each.path)) is not None and last.sha256 != each.sha256
    ]
    if row.corrupt != digest and not (is_in_full(row) and _is_silent(row, found, before, changed)):
        return None
    detail = "" if found.files.kind == "file" else ", ".join(changed[:NAMED])
    return CorruptModelError(
        found.files.path, str(row.digest), digest, detail, accepting=accepting(found.entry, digest)
    )


def _is_silent(row: Model, found: Verification, before: Mapping[str, Row | None], changed: Sequence[str]) -> bool:
    """Tell whether nothing but the bytes tells of a change; the memo knew others of the files `changed`."""
    for digest in found.digests:
        last = before.get(digest.path)
        if last is not None and (last.identity.size, last.identity.mtime_ns) != (
            digest.identity.size,
            digest.identity.mtime_ns,
        ):
            return False
    if changed:
        return True
    # The memo was lost, or another run told it meanwhile: the times tell. One that lies ahead of the clock says nothing.
    if row.verified_at is None or row.verified_at > now() or row.size != found.size:
        return False
    verified = datetime.fromisoformat(row.verified_at).timestamp() * 1e9
    return all(digest.identity.mtime_ns < verified for digest in found.digests)


def put_away_damaged(store: Store, digests: Iterable[FileDigest]) -> None:
    """Put away every file that lies in the store under another SHA-256 than it was found to have.

    Raises `DamagedError` for the first of them: the next fetch brings them all again.
    """
    damaged: DamagedError | None = None
    for digest in digests:
        wanted = store.blob_behind(digest.path)
        if wanted is None or wanted == digest.sha256:
            continue
        error = put_away(store, wanted, digest.path, digest.sha256)
        damaged = damaged or error
    if damaged is not None:
        raise damaged


def put_away(store: Store, wanted: str, path: str, found: str) -> DamagedError:
    """Put away the blob with the SHA-256 `wanted`, at `path`, whose bytes have another one; return the error for it."""
    try:
        away = store.put_away(wanted)
    except StorageError as error:
        fix = f"remove {store.blob_path(wanted)}, which could not be moved away ({error.found}), and run again"
    else:
        fix = f"run `{called('provision')}`, and it is fetched again" + (
            f"; the damaged one is kept for a week as {away}" if away else ""
        )
    return DamagedError(path, f"sha256:{wanted}", f"sha256:{found}", fix=fix)
