"""What the provenance log tells of a model: when its bytes were last verified and how, and when they were last hashed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.artifacts.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
    try:
        with open(path, "rb") as log:
            return _sorted_out(log)
    except (FileNotFoundError, NotADirectoryError):
        return Verifications({}, {})
    except OSError as error:
        raise storage_error("the provenance log can't be read", path, error, elsewhere="runtime_dir") from None


def _sorted_out(lines: Iterable[bytes]) -> Verifications:
    last: dict[tuple[str, str], Seen] = {}
    hashed: dict[tuple[str, str], Seen] = {}
    for line in lines:
        if (record := _record(line)) is None:
            continue
        key, seen = record
        last[key] = seen
        if seen.how == "hashed":
            hashed[key] = seen
    return Verifications(last, hashed)


def _record(line: bytes) -> tuple[tuple[str, str], Seen] | None:
    try:
        fields: Any = json.loads(line)
        found = [fields[name] for name in ("id", "digest", "time", "how")]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not all(isinstance(each, str) for each in found):
        return None
    return (found[0], found[1]), Seen(found[2], found[3])
