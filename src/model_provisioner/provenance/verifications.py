"""What the provenance log tells of a model: when its bytes were last verified and how, and when they were last hashed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.provenance.log import Torn, newest_first

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Seen:
    """A verification for which bytes were read: its time (ISO 8601, UTC) and its way, `hashed` or `xxh3`."""

    time: str
    how: str


@dataclass(frozen=True)
class Verifications:
    """The verifications of models that the log holds, each by the id of the model and the digest that was found."""

    last: Mapping[tuple[str, str], Seen]
    """The last one of each, whatever its way."""
    hashed: Mapping[tuple[str, str], Seen]
    """The last one of each for which every byte was hashed."""


def read_verifications(path: str) -> Verifications:
    """Read the log at `path`; where there is none, nothing is known. A line that is torn or of another form is skipped.

    Raises `StorageError` where it can't be read.
    """
    last: dict[tuple[str, str], Seen] = {}
    hashed: dict[tuple[str, str], Seen] = {}
    for each in newest_first(path):
        if isinstance(each, Torn) or (record := _record(each)) is None:
            continue
        key, seen = record
        last.setdefault(key, seen)
        if seen.how == "hashed":
            hashed.setdefault(key, seen)
    return Verifications(last, hashed)


def _record(fields: Mapping[str, Any]) -> tuple[tuple[str, str], Seen] | None:
    id_, digest, time, how = (fields.get(name) for name in ("id", "digest", "time", "how"))
    if not (isinstance(id_, str) and isinstance(digest, str) and isinstance(time, str) and isinstance(how, str)):
        return None
    return (id_, digest), Seen(time, how)
