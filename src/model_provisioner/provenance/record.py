"""The provenance record: what is kept of one verification. The log has one on each line; a statement is made from one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest, How


_REQUIRED = ("id", "path", "digest", "outcome", "how")
_OPTIONAL = ("origin", "signature", "companions")
"""The fields that a line leaves out if they are empty."""


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
    config: str
    """The SHA-256 of the configuration file."""
    lock: str | None
    """The SHA-256 of the lock file; None if there was none."""


@dataclass(frozen=True, kw_only=True)
class ProvenanceRecord:
    """One verification. Times are ISO 8601 in UTC; what is not known is None."""

    name: str | None
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
    """Empty for a set in a line of an older version."""
    policy: Policy | None
    version: str | None
    """The version of this program."""
    companions: tuple[dict[str, str], ...] = ()
    """The role, id, path, digest and outcome of each companion."""
    signature: dict[str, Any] | None = None
    """The result of checking the signature, as in the handoff; None if the entry names no signature."""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object of a line of the log."""
        fields = {name: value for name, value in vars(self).items() if name not in _OPTIONAL or value not in (None, ())}
        return {
            **fields,
            "size": sum(file.size for file in self.files),
            "files": [vars(file) for file in self.files],
            "policy": None if self.policy is None else vars(self.policy),
        }

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> ProvenanceRecord | None:
        """Return the record in a line of the log, of this version or an older one; None if it has another form."""
        fields = {name: line.get(name) for name in cls.__dataclass_fields__}
        if not all(isinstance(fields[name], str) for name in _REQUIRED) or not isinstance(fields["time"], str | None):
            return None
        try:
            fields["files"] = tuple(FileRecord(**file) for file in fields["files"] or _only_file(line))
            fields["policy"] = None if fields["policy"] is None else Policy(**fields["policy"])
            fields["companions"] = tuple(dict(each) for each in fields["companions"] or ())
        except (KeyError, TypeError, ValueError):
            return None
        return cls(**cast("Any", fields))


def _only_file(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the files in a line without them: the one file of the model, or none of a set."""
    algo, _, value = line["digest"].partition(":")
    if algo != "sha256":
        return []
    hashed = line["time"] if line["how"] == "hashed" else None
    name = os.path.basename(line["path"])
    return [{"name": name, "size": line["size"], "sha256": value, "how": line["how"], "hashed": hashed}]


def file_records(files: FileSet, digests: Sequence[FileDigest], *, how: How | None = None) -> tuple[FileRecord, ...]:
    """Return the record of each file. `how` replaces the way that the digests have."""
    return tuple(
        FileRecord(
            name=name,
            size=digest.identity.size,
            sha256=digest.sha256,
            how=how or digest.how,
            hashed=_iso(digest.hashed_at),
        )
        for name, digest in zip(files.names(), digests, strict=True)
    )


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
