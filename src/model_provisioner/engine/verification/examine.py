"""Examine: what the bytes of models are found to be, against what is expected of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import failing
from model_provisioner.engine.verification.outcome import Verification, check_kinds, verification_of
from model_provisioner.errors import (
    ChangingModelError,
    ProvisionError,
)
from model_provisioner.fs.identity import identity_of
from model_provisioner.headers.compatibility import read_checked
from model_provisioner.headers.reader import read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.fs.identity import Identity
    from model_provisioner.hashing.memo import Answer
    from model_provisioner.headers.metadata import Metadata

TRIES = 3


def examine(records: Sequence[EntryRun], digests: Callable[[Sequence[str]], Sequence[Answer]]) -> None:
    """Find out what the bytes of resolved entries are, taking digests of files from `digests`, and read their headers.

    Each record has its `verification` or its `error` afterwards: of an unsound, unreadable or changing model. A mismatch is
    no error here: see `Verification.outcome`.
    """
    left = list(records)
    for _ in range(TRIES):
        looked: list[tuple[EntryRun, list[Identity], Metadata]] = []
        for record in left:
            assert record.files is not None
            with failing(record):
                try:
                    check_kinds(record.entry, record.files)
                    # Headers first: a broken file is reported before an hour of hashing.
                    before = [identity_of(member.path) for member in record.files.members]
                    looked.append((record, before, read_headers(record.entry, record.files)))
                except FileNotFoundError:  # removed between two looks at it
                    record.files = record.files.again()
        answers = iter(digests([path for record, *_ in looked for path in _paths(record)]))
        for record, before, metadata in looked:
            found = list(islice(answers, len(before)))
            with failing(record):
                record.verification = _judge(record, before, metadata, found)
                if record.verification is None and record.files is not None:
                    record.files = record.files.again()
        left = [record for record in left if record.verification is None and record.error is None]
    for record in left:
        assert record.files is not None
        record.error = ChangingModelError(
            "the model keeps changing while it is read",
            where=record.files.path,
            expected="files at rest",
            found=f"other bytes, times or files after each of {TRIES} readings",
            fix="wait until what writes them has ended, then run again",
        )


def read_headers(entry: Entry, files: FileSet) -> Metadata:
    """Read the headers of an entry's files, or of those of a part of it; return the metadata of the model.

    Raises `WrongKindError` where an engine is to load them that can't, and `UnsoundModelError` as `read_metadata` does.
    """
    return read_checked(files, entry.engine) if entry.engine and entry.role == "model" else read_metadata(files)


def _paths(record: EntryRun) -> list[str]:
    return [] if record.files is None else [member.path for member in record.files.members]


def _judge(
    record: EntryRun, before: list[Identity], metadata: Metadata, answers: Sequence[Answer]
) -> Verification | None:
    """Return what was found of a model, None where it moved meanwhile. Raise what kept a file of it from being read."""
    assert record.files is not None
    digests = []
    for answer in answers:
        if isinstance(answer, ProvisionError):
            raise answer
        digests.append(answer)
    found = verification_of(record.entry, record.files, tuple(digests), metadata)
    return found if before == [each.identity for each in digests] and found.at_rest() else None
