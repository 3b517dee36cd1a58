"""What is known of a model, in the words that the table and the details use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill

if TYPE_CHECKING:
    from model_provisioner.operations.model_report import CompanionReport, ModelReport, SignatureReport


def moment(time: str) -> Markup:
    """Return a time in ISO 8601, with a space for the T: HTML takes it for the same."""
    return fill("<time>{time}</time>", time=time.replace("T", " "))


def reference_in_words(reference: str, root: str) -> str:
    """Return a reference as `models.yaml` may write it."""
    scheme, colon, path = reference.partition(":")
    return f"file:{relative(path, root)}" if colon and scheme == "local" else reference


def handoff_in_words(model: ModelReport) -> str:
    """Say how the handoff is."""
    if model.handoff_state == "none":
        return f"none for {model.engine}"
    return f"for {model.engine}" + ("" if model.handoff_state == "confirmed" else ", but not confirmed")


def header_in_words(model: ModelReport) -> str:
    """Return what the headers of a model's files say of it; empty where that is not known."""
    metadata = None if model.row is None else model.row.metadata
    if metadata is None:
        return ""
    return ", ".join(
        filter(
            None,
            (
                metadata.format,
                metadata.architecture,
                metadata.quantization,
                f"{metadata.parameter_count:,} parameters" if metadata.parameter_count else None,
                f"{metadata.context_length:,} tokens of context" if metadata.context_length else None,
            ),
        )
    )


def digest_in_words(digest: str, expected: str | None, outcome: str | None) -> Markup:
    """Return a digest, and whether it is the expected one; `outcome` is that of the verification that found it.

    That of a model tells of its companions and its signature, too: `fail` need not be the digest's fault.
    """
    if outcome == "error":
        said = ", of an earlier reading"
    elif expected is None:
        said = ", none is expected"
    elif digest == expected or outcome != "fail":
        said = ", as expected"
    else:
        said = ", not the expected one" if expected.startswith(digest.partition(":")[0]) else ""
    return fill("<code>{digest}</code>{said}", digest=digest, said=said)


def verified(model: ModelReport) -> str | None:
    """Return when a model was verified, or, of one that failed, when its bytes were read."""
    row, last = model.row, model.last
    if row is not None and row.lifecycle == "Failed":
        return None if last is None else last.time
    return None if row is None else row.verified_at


def how_read(model: ModelReport) -> Markup:
    """Say when and how its bytes were last read, and when they were last hashed, as far as that is on record."""
    last, hashed = model.last, model.hashed
    if last is None and hashed is None:
        return fill("no reading of its bytes is on record")
    if last is None:
        return fill("known by stat{since}", since=_since(hashed))
    if last.how == "hashed":
        return fill("SHA-256 of every byte, {time}", time=moment(last.time))
    return fill("every byte read (xxh3), {time}{since}", time=moment(last.time), since=_since(hashed))


def _since(hashed: str | None) -> Markup:
    return NOTHING if hashed is None else fill("; SHA-256 {time}", time=moment(hashed))


def companion_in_words(companion: CompanionReport, root: str) -> Markup:
    """Return what a companion is, and what it was verified to be."""
    return fill(
        "{role} <code>{reference}</code><br>{digest}",
        role=companion.role,
        reference=reference_in_words(companion.reference, root),
        digest=fill("not verified yet")
        if companion.digest is None
        else digest_in_words(companion.digest, companion.expected, companion.outcome),
    )


def signature_in_words(signature: SignatureReport, root: str) -> Markup:
    """Say who is to have signed a model, and whether that holds."""
    claim, result = signature.claim, signature.result
    if claim.public_key is None:
        who = fill("{identity}, as {issuer} says", identity=claim.identity or "", issuer=claim.issuer or "")
    else:
        who = fill("the key <code>{path}</code>", path=relative(claim.public_key, root))
    if result is None:
        return fill("by {who}: not confirmed", who=who)
    if result.fault is None:
        return fill("by {who}: it holds", who=who)
    return fill("by {who}: it does not hold, {why}", who=who, why=result.fault[0])
