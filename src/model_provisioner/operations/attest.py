"""Attest: find the provenance record of a verification, and compare a statement of one with the bytes that are here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import counting
from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.up_to_date import stand
from model_provisioner.engine.verification.outcome import digest_of, verification_of
from model_provisioner.engine.verify import record_of
from model_provisioner.errors import InputError, NotVerifiedError, ProvisionError, StatementError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import JSON_LIMIT, read_if_there
from model_provisioner.hashing.confirmed import confirmed
from model_provisioner.headers.metadata import Metadata
from model_provisioner.invocation import command as called
from model_provisioner.json_text import parse_json
from model_provisioner.provenance.dsse import is_envelope, open_envelope, payload_of
from model_provisioner.provenance.record import Policy, ProvenanceRecord, file_records
from model_provisioner.provenance.statement import is_ours, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import Answer
    from model_provisioner.provenance.statement import Statement
    from model_provisioner.records.catalog.catalog import Model

AHEAD = timedelta(minutes=5)
"""By how much two clocks may differ without a note."""


def last_record(work: Workspace, entry: Entry) -> ProvenanceRecord:
    """Return the provenance record of the verification that the catalog has of an entry.

    All of it comes from the state folder. Where no record is of what the catalog says, because a version wrote the row that
    kept none or a kill came between the two, it is made from catalog and memo. Raises `NotVerifiedError` where nothing is
    known.
    """
    row = work.catalog.get(work.config.root, entry.name)
    if row is None or row.digest is None or row.outcome not in {"pass", "warn", "fail"} or row.id != entry.ref.id:
        raise NotVerifiedError(
            f"there is no verification of {entry.name} to give an account of",
            where=work.catalog.path,
            expected="a verification of the model as models.yaml names it",
            found=_why_none(row),
            fix=f"run `{called(f'provision {entry.name}')}`"
            if row is None or row.lifecycle != "Retired"
            else f"run `{called(f'retire --undo {entry.name}')}`, then `{called(f'provision {entry.name}')}`",
        )
    record = work.verifications.of(work.config.root, entry.name)
    return record if record is not None and _is_of(record, row) else _from_records(work, entry, row)


def _why_none(row: Model | None) -> str:
    if row is None:
        return "it is not in the catalog"
    if row.outcome == "error":
        return "the last one ended in an error before its bytes were known"
    return f"it is {row.lifecycle}" if row.outcome is None else "one of another model_ref"


def _is_of(record: ProvenanceRecord, row: Model) -> bool:
    """Tell whether a record is one of what the catalog's row says of an entry."""
    if (record.id, record.digest, record.outcome) != (row.id, row.digest, row.outcome):
        return False
    # A row of a failure keeps, of an earlier version, what was expected before.
    return row.outcome == "fail" or record.policy is None or record.policy.expected == row.expected


def _from_records(work: Workspace, entry: Entry, row: Model) -> ProvenanceRecord:
    record = EntryRun(entry)
    standing = stand(work, record)
    files, digests = standing.files, standing.digests
    if files is None or digests is None or str(digest_of(files, digests)) != row.digest:
        raise NotVerifiedError(
            f"what was verified of {entry.name} is in no record any more, and its files are not as they were",
            where=row.path or entry.ref.id,
            expected=row.digest or "",
            found="; ".join(reason.text for reason in standing.unread) or "other bytes",
            fix=f"run `{called(f'provision {entry.name}')}`",
        )
    metadata = row.metadata or Metadata()
    if metadata.signature is not None and metadata.signature.over != row.digest:
        metadata = replace(metadata, signature=None)
    record.verification = verification_of(entry, files, digests, metadata)
    made = record_of(work, record)
    failed = row.outcome == "fail"  # of what failed, the catalog has neither the time nor what was expected
    return replace(
        made,
        path=row.path or made.path,
        time=None if failed else row.verified_at,
        outcome=row.outcome or "",
        how="stat",
        files=file_records(files, digests, how="stat"),
        companions=tuple(_as_recorded(each, row) for each in made.companions),
        policy=None if failed else Policy(expected=row.expected, strict=row.strict, config=None, lock=None),
    )


def _as_recorded(companion: dict[str, str], row: Model) -> dict[str, str]:
    """Return what is told of a companion with the outcome that the row has: all passed, or nobody recorded which did."""
    told = {name: value for name, value in companion.items() if name != "outcome"}
    return {**told, "outcome": "pass"} if row.outcome == "pass" else told


def is_own(data: bytes) -> bool:
    """Tell of the bytes of a file whether they are a statement of this program, signed or not."""
    payload = payload_of(data)
    return is_ours(data if payload is None else payload)


@dataclass(frozen=True, kw_only=True)
class StatementFile:
    """A statement that was read from a file."""

    path: str
    statement: Statement
    key: str | None
    """The id of the key that signed it; None where it is not signed."""


def read_statement(path: str, public_key: str | None) -> StatementFile:
    """Read the statement in a file, which has to be signed where a key is named, and may not be where none is.

    Raises `StatementError` for a wrong or missing signature, `InputError` for a file that is no statement.
    """
    data = read_if_there(path, JSON_LIMIT)
    if data is None:
        found = "a folder, or no file that you may read" if may_be_there(path) else "no such file"
        raise InputError(
            "the statement can't be read",
            where=path,
            expected=f"a file of at most {JSON_LIMIT:,} bytes that you may read",
            found=found,
            fix="name another file",
        )
    try:
        document = parse_json(data)
    except ValueError:
        document = None
    if not is_envelope(document):
        statement = parse(data, path)
        if public_key is not None:
            raise StatementError(
                "the statement is not signed",
                where=path,
                expected=f"a signature by the key in {public_key}",
                found="a statement alone, which anybody could have written",
                fix="ask who made it for the signed one",
            )
        return StatementFile(path=path, statement=statement, key=None)
    if public_key is None:
        raise InputError(
            "the statement is signed, and no key is named to check that by",
            where=path,
            expected="--public-key FILE, with the key of who made it",
            found="no --public-key",
            fix="name it: --public-key FILE",
        )
    payload, key = open_envelope(document, public_key, path)
    return StatementFile(path=path, statement=parse(payload, path), key=key)


def check(work: Workspace, entry: Entry, read: StatementFile) -> list[str]:
    """Raise `StatementError` unless the statement says that the bytes which an entry has now passed; return notes.

    Files are read where the memo does not know them; under `--full`, all.
    """
    statement = read.statement
    if not statement.passed:
        what = {"warn": "no digest was expected", "fail": "the digest was not the expected one"}
        raise StatementError(
            f"the statement does not say that {entry.name} was verified",
            where=read.path,
            expected="verificationResult PASSED",
            found="another result" + (f": {what[statement.outcome]}" if statement.outcome in what else ""),
            fix="give it the expected_digest, provision it, and ask for a new statement",
        )
    files = resolve_entry(entry, work.store)
    paths = [member.path for member in files.members]
    ask = work.memo.digests_in_full if work.rules.full else work.memo.digests
    here = _by_name(files, ask(paths, counting(work.progress)))
    said = dict(statement.subjects)
    if files.kind == "file" and len(here) == len(statement.subjects) == 1:
        said = dict(zip(here, said.values(), strict=True))  # one file is the same under any name
    if said != here:  # by what a worker of a cluster said, perhaps: that is not enough
        here = _by_name(files, confirmed(work.memo, paths, counting(work.progress)))
    if said != here or len(said) != len(statement.subjects):
        raise StatementError(
            f"the statement is about other bytes than those of {entry.name}",
            where=read.path,
            expected=_listed(said),
            found=f"{_listed(here)} at {files.path}",
            fix="get the bytes that it is about, or a statement about these",
        )
    return _notes(statement)


def _by_name(files: FileSet, answers: Iterable[Answer]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name. Raises what keeps one from being read."""
    found = {}
    for name, answer in zip(files.names(), answers, strict=True):
        if isinstance(answer, ProvisionError):
            raise answer
        found[name] = answer.sha256
    return found


def _notes(statement: Statement) -> list[str]:
    try:
        ahead = datetime.fromisoformat(statement.time or "") - datetime.now(UTC)
    except (ValueError, TypeError):
        return ["the statement has no time"]
    if ahead > AHEAD:
        return [f"the statement is of {statement.time}, which is yet to come: a clock, here or there, is wrong"]
    return []


def _listed(files: dict[str, str]) -> str:
    shown = [f"{name} sha256:{sha256}" for name, sha256 in sorted(files.items())[:3]]
    return ", ".join(shown) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
