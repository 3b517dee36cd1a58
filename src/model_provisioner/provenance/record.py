"""The provenance record: what is kept of one verification, in the state folder and as a line of the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest, How


_OPTIONAL = ("origin", "signature", "companions")
"""The fields that are left out if they are empty."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of the model or of a companion."""

    name: str
    """Its name in the set; of a model of one file, its base name."""
    size: int
    sha256: str
    how: How
    """How the verification knew its digest."""
    hashed: str | None
    """When SHA-256 last went over every byte of it; None if that was not recorded."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the verification had to satisfy."""

    expected: str | None
    strict: bool
    config: str | None
    """The SHA-256 of the configuration file; None if nobody recorded it."""
    lock: str | None
    """The SHA-256 of the lock file; None if there was none, or nobody recorded it."""


@dataclass(frozen=True, kw_only=True)
class ProvenanceRecord:
    """One verification. Times are ISO 8601 in UTC; what is not known is None."""

    name: str
    """The entry."""
    id: str
    path: str
    time: str | None
    digest: str
    outcome: str
    how: How
    """The most expensive way in which the digest of a file was found."""
    origin: str | None
    files: tuple[FileRecord, ...]
    policy: Policy | None
    version: str
    """The version of this program."""
    companions: tuple[dict[str, str], ...] = ()
    """The role, id, path, digest and outcome of each companion."""
    signature: dict[str, Any] | None = None
    """The result of checking the signature, as in the handoff; None if the entry names no signature."""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object that is kept."""
        fields = {name: value for name, value in vars(self).items() if name not in _OPTIONAL or value not in (None, ())}
        return {
            **fields,
            "size": sum(file.size for file in self.files),
            "files": [vars(file) for file in self.files],
            "policy": None if self.policy is None else vars(self.policy),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ProvenanceRecord:
        """Return the record that `to_dict` told of. Raises `KeyError` or `TypeError` for anything else."""
        found = {name: fields[name] for name in cls.__dataclass_fields__ if name not in _OPTIONAL}
        policy = found["policy"]
        return cls(
            **{
                **found,
                "files": tuple(FileRecord(**file) for file in found["files"]),
                "policy": None if policy is None else Policy(**policy),
                "origin": fields.get("origin"),
                "signature": fields.get("signature"),
                "companions": tuple(fields.get("companions", ())),
            }
        )

    def tells_of(self, other: ProvenanceRecord) -> bool:
        """Tell whether the other is of the same bytes, with the same result under the same policy."""
        return self._result() == other._result()

    def _result(self) -> tuple[object, ...]:
        policy = None if self.policy is None else (self.policy.expected, self.policy.strict)
        files = [(file.name, file.size, file.sha256) for file in self.files]
        return self.id, self.path, self.digest, self.outcome, policy, files, self.companions, self.signature

    @property
    def hashed(self) -> str | None:
        """When SHA-256 last went over every byte: of the file for which that is longest ago. None if that is not known."""
        return oldest(file.hashed for file in self.files)


def oldest(times: Iterable[str | None]) -> str | None:
    """Return the first of times in ISO 8601; None where one is not known, or there is none."""
    found = list(times)
    return None if not found or None in found else min(time for time in found if time is not None)


def file_records(files: FileSet, digests: Sequence[FileDigest], *, how: How | None = None) -> tuple[FileRecord, ...]:
    """Return the record of each file. `how` replaces the way that the digests have."""
    return tuple(
        FileRecord(
            name=name,
            size=digest.identity.size,
            sha256=digest.sha256,
            how=how or digest.how,
            hashed=iso(digest.hashed_at),
        )
        for name, digest in zip(files.names(), digests, strict=True)
    )


def iso(seconds: int | None) -> str | None:
    """Return a time in seconds since 1970 in ISO 8601, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
