"""The statement: the result of a verification as an in-toto Statement v1, with a SLSA Verification Summary as its predicate.

The format is described in `docs/reference/statement.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from model_provisioner.errors import InputError
from model_provisioner.invocation import command as called
from model_provisioner.json_text import parse_json
from model_provisioner.references.digest import SHA256_HEX

if TYPE_CHECKING:
    from model_provisioner.provenance.record import ProvenanceRecord

STATEMENT = "https://in-toto.io/Statement/v1"
SUMMARY = "https://slsa.dev/verification_summary/v1"
VERIFIER = "pkg:pypi/model-provisioner"
OURS = "modelprovisioner_verification"
"""Our extension field of the summary, named by SLSA's rule for such fields."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The parts of a statement that are checked."""

    subjects: tuple[tuple[str, str], ...]
    """Names and SHA-256 of files."""
    passed: bool
    outcome: str | None
    """`pass`, `warn` or `fail`; None in the summary of another program."""
    time: str | None
    name: str | None
    """The entry that was verified."""


def statement_of(record: ProvenanceRecord, config: str) -> dict[str, Any]:
    """Return the statement of a verification against the configuration file at `config`."""
    policy: dict[str, Any] = {"uri": f"file://{quote(config, errors='surrogateescape')}"}
    if record.policy is not None:
        policy["annotations"] = {
            "expected_digest": record.policy.expected,
            "strict_verification": record.policy.strict,
        }
        if record.policy.config is not None:
            policy["digest"] = {"sha256": record.policy.config}
            lock = record.policy.lock
            policy["annotations"]["models.lock"] = None if lock is None else {"sha256": lock}
    summary = {
        "verifier": {"id": VERIFIER, "version": {"model-provisioner": record.version}},
        "timeVerified": record.time,
        "resourceUri": _uri(record.id),
        "policy": policy,
        # SLSA has no third result. A model without an expected digest must not pass for a reader of this field alone.
        "verificationResult": "PASSED" if record.outcome == "pass" else "FAILED",
        # Bytes are verified, not how they were built.
        "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED" if record.outcome == "pass" else "FAILED"],
        OURS: {
            "digest": record.digest,
            "files": [
                {
                    "how": file.how,
                    "last_hashed": file.hashed,
                    "name": file.name,
                    "sha256": file.sha256,
                    "size_bytes": file.size,
                }
                for file in record.files
            ],
            "how": record.how,
            "name": record.name,
            "origin": record.origin,
            "outcome": record.outcome,
            "path": record.path,
            **({"companions": list(record.companions)} if record.companions else {}),
            **({} if record.signature is None else {"signature": record.signature}),
        },
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": file.name, "digest": {"sha256": file.sha256}} for file in record.files],
        "predicateType": SUMMARY,
        "predicate": {name: value for name, value in summary.items() if value is not None},
    }


def _uri(model_id: str) -> str:
    scheme, _, rest = model_id.partition(":")
    return model_id if scheme in {"http", "https"} else f"{scheme}:{quote(rest, safe='/@', errors='surrogateescape')}"


def render(statement: dict[str, Any]) -> bytes:
    """Return the bytes of a statement."""
    return (json.dumps(statement, indent=2, sort_keys=True) + "\n").encode()


def parse(payload: bytes, where: str) -> Statement:
    """Parse a statement; `where` is its path. Raises `InputError` for anything else."""
    try:
        document = parse_json(payload)
    except ValueError:
        raise _no_statement(where, "a JSON object", "something that is no JSON") from None
    if not isinstance(document, dict) or document.get("_type") != STATEMENT:
        found = document.get("_type") if isinstance(document, dict) else None
        raise _no_statement(where, f'"_type": "{STATEMENT}"', f"{found!r}" if found else "no such field")
    if document.get("predicateType") != SUMMARY:
        raise InputError(
            "the statement is no verification summary",
            where=where,
            expected=f'"predicateType": "{SUMMARY}"',
            found=repr(document.get("predicateType")),
            fix=f"name a file that `{called('attest NAME -o FILE')}` wrote",
        )
    subjects = document.get("subject")
    predicate = document.get("predicate")
    if not isinstance(subjects, list) or not subjects or not isinstance(predicate, dict):
        raise _no_statement(where, "subjects and a predicate", "a statement without")
    ours = predicate.get(OURS)
    ours = ours if isinstance(ours, dict) else {}
    return Statement(
        subjects=tuple(_subject(each, where) for each in subjects),
        passed=predicate.get("verificationResult") == "PASSED",
        outcome=_text(ours.get("outcome")),
        time=_text(predicate.get("timeVerified")),
        name=_text(ours.get("name")),
    )


def is_ours(payload: bytes) -> bool:
    """Tell whether these are the bytes of a statement that this program made, in any version."""
    try:
        document = json.loads(payload)
        return bool(document["_type"] == STATEMENT and document["predicate"]["verifier"]["id"] == VERIFIER)
    except (ValueError, RecursionError, LookupError, TypeError):
        return False


def _subject(subject: Any, where: str) -> tuple[str, str]:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    value = digest.get("sha256") if isinstance(digest, dict) else None
    if not isinstance(value, str) or not SHA256_HEX.fullmatch(value):
        raise _no_statement(where, "a sha256 of 64 hexadecimal digits for each subject", "a subject without")
    return _text(subject.get("name")) or "", value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _no_statement(where: str, expected: str, found: str) -> InputError:
    return InputError(
        "this is no in-toto statement",
        where=where,
        expected=expected,
        found=found,
        fix=f"name a file that `{called('attest NAME -o FILE')}` wrote",
    )
