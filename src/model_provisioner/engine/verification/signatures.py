"""SignatureResult: what is known of the signature that an entry names, and what is found when it is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.errors import ChangingModelError, ProvisionError, SignatureError
from model_provisioner.fs.identity import identity_of
from model_provisioner.headers.metadata import SignatureResult

if TYPE_CHECKING:
    from model_provisioner.config.entries import Claim, Entry
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.records.catalog.catalog import Model


def reason_to_check(work: Workspace, entry: Entry, row: Model | None) -> str | None:
    """Return why the entry's signature has to be checked, None where what the catalog has of it still holds.

    Bundle and key are looked at by stat alone.
    """
    was = None if row is None or row.metadata is None else row.metadata.signature
    claim = entry.signature
    if claim is None:
        return None if was is None else "signature edited"
    if was is None:
        return "no signature of it held before"
    if (claim.identity, claim.issuer, claim.public_key is None) != (was.identity, was.issuer, was.public_key is None):
        return "signature edited"
    for name, path, before in zip(("bundle", "key"), claim.files, (was.bundle, was.public_key), strict=False):
        if (known := work.memo.known(path) or work.memo.doubted(path)) is None:  # of the second, `stand` tells
            return f"the signature's {name} has to be read"
        if known.sha256 != before:
            return f"the signature's {name} changed"
    return None


def recorded(work: Workspace, entry: Entry, row: Model | None, digest: str) -> SignatureResult | None:
    """Return what the catalog has of the entry's signature over bytes of this digest, if that still holds."""
    if entry.signature is None or row is None or row.metadata is None or row.metadata.signature is None:
        return None
    # The digest of the row is no witness: a failure notes there what was found, and keeps the rest.
    was = row.metadata.signature
    return was if was.over == digest and reason_to_check(work, entry, row) is None else None


def signed(work: Workspace, entry: Entry, found: Verification) -> Verification:
    """Return the verification with what its signature is found to be; without a `signature`, as it is.

    What holds already is checked again only in a run that ignores cached digests. Raises what keeps it from being
    checked at all; a signature that does not hold is no error here: see `Verification.outcome`.
    """
    claim = entry.signature
    if claim is None:
        return found
    row = work.catalog.get(work.config.root, entry.name)
    before = recorded(work, entry, row, str(found.digest))
    if before is not None and before.fault is None and not work.rules.full:
        return replace(found, metadata=replace(found.metadata, signature=before))
    from model_provisioner.provenance.publisher_signature import check_readable, check_signature

    check_readable(claim)
    digests = _digests(work, claim)
    result = SignatureResult(
        over=str(found.digest),
        bundle=digests[0].sha256,
        public_key=None if claim.public_key is None else digests[-1].sha256,
        identity=claim.identity,
        issuer=claim.issuer,
    )
    try:
        model = found.parts[0]  # who made the model did not make its companions
        check_signature(claim, model.files, model.digests)
    except SignatureError as error:
        result = replace(result, fault=(error.what, error.where, error.expected, error.found, error.fix))
    if any(identity_of(digest.path) != digest.identity for digest in digests):
        raise ChangingModelError(
            "the signature changes while it is checked",
            where=claim.bundle,
            expected="a bundle and a key at rest",
            found="other bytes after each check",
            fix="wait until what writes them has ended, then run again",
        )
    return replace(found, metadata=replace(found.metadata, signature=result))


def _digests(work: Workspace, claim: Claim) -> list[FileDigest]:
    digests = []
    for answer in work.memo.digests(claim.files):
        if isinstance(answer, ProvisionError):
            raise answer
        digests.append(answer)
    return digests
