"""What the provenance log says of models: when their bytes were last read, and when they were last hashed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.provenance.log import TornLine, newest_first
from model_provisioner.provenance.record import ProvenanceRecord

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class LastReading:
    """A verification that read bytes: its time (ISO 8601, UTC), and whether it `hashed` them or compared their `xxh3`."""

    time: str
    how: str


@dataclass(frozen=True)
class Verifications:
    """The verifications in the log, by the id of the model and the digest that was found."""

    last: Mapping[tuple[str, str], LastReading]
    """The last one of each."""
    hashed: Mapping[tuple[str, str], LastReading]
    """The last one of each that hashed every byte."""


def read_verifications(path: str) -> Verifications:
    """Read the log at `path`, which may be missing. Lines that are no records are skipped.

    Raises `StorageError` if it can't be read.
    """
    last: dict[tuple[str, str], LastReading] = {}
    hashed: dict[tuple[str, str], LastReading] = {}
    for line in newest_first(path):
        record = None if isinstance(line, TornLine) else ProvenanceRecord.from_dict(line)
        if record is not None and record.time is not None:
            key, seen = (record.id, record.digest), LastReading(record.time, record.how)
            last.setdefault(key, seen)
            if record.how == "hashed":
                hashed.setdefault(key, seen)
    return Verifications(last, hashed)
