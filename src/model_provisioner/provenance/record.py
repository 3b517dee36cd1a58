"""The account of a verification: all that is told of it later. A line of the log holds one; a statement is made of one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest, How


@dataclass(frozen=True, kw_only=True)
class FileAccount:
    """One file of the model or of a companion, by its name in the set (of one file, its base name)."""

    name: str
    size: int
    sha256: str
    how: How
    """How the verification knew its digest."""
    hashed: str | None
    """When SHA-256 last went over every byte of it; None where nobody noted it."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the verification was held to."""

    expected: str | None
    strict: bool
    config: str
    """The SHA-256 of the configuration file."""
    lock: str | None
    """The SHA-256 of the lock file, None where there was none."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """One verification. Times are ISO 8601 in UTC; what is not known is None."""

    name: str | None
    """The entry."""
    id: str
    path: str
    time: str | None
    digest: str
    outcome: str
    how: How
    """The most expensive way in which any of the files was confirmed."""
    origin: str | None
    files: tuple[FileAccount, ...]
    policy: Policy | None
    version: str | None
    """Of this program."""
    companions: tuple[dict[str, str], ...] = ()
    """Of each companion role, id, path, digest and outcome."""
    signature: dict[str, Any] | None = None
    """What the signature was found to be, as the handoff has it; None where the entry names none."""

    def record(self) -> dict[str, object]:
        """Return the line of the log."""
        policy = self.policy
        return {
            **({} if self.origin is None else {"origin": self.origin}),
            **({} if self.signature is None else {"signature": self.signature}),
            **({"companions": list(self.companions)} if self.companions else {}),
            "time": self.time,
            "name": self.name,
            "id": self.id,
            "path": self.path,
            "size": sum(file.size for file in self.files),
            "digest": self.digest,
            "outcome": self.outcome,
            "how": self.how,
            "files": [vars(file) for file in self.files],
            "policy": None if policy is None else vars(policy),
            "version": self.version,
        }


def of_record(record: Mapping[str, Any]) -> Account | None:
    """Return the account in a line of the log, None where that tells too little: a set, in a line of an older version."""
    try:
        policy = record.get("policy")
        return Account(
            name=record.get("name"),
            id=record["id"],
            path=record["path"],
            time=record["time"],
            digest=record["digest"],
            outcome=record["outcome"],
            how=record["how"],
            origin=record.get("origin"),
            files=tuple(FileAccount(**file) for file in record.get("files") or [_only_file(record)]),
            policy=None if policy is None else Policy(**policy),
            version=record.get("version"),
            companions=tuple(dict(each) for each in record.get("companions", ())),
            signature=record.get("signature"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _only_file(record: Mapping[str, Any]) -> dict[str, Any]:
    algo, _, value = record["digest"].partition(":")
    if algo != "sha256":
        raise ValueError(algo)
    how = cast("How", record["how"])
    hashed = record["time"] if how == "hashed" else None
    return {
        "name": os.path.basename(record["path"]),
        "size": record["size"],
        "sha256": value,
        "how": how,
        "hashed": hashed,
    }


def accounts_of(files: FileSet, digests: Sequence[FileDigest], *, how: How | None = None) -> tuple[FileAccount, ...]:
    """Return what is told of each file; `how` says how their digests were known, where that is not as they say."""
    return tuple(
        FileAccount(
            name=name,
            size=digest.identity.size,
            sha256=digest.sha256,
            how=how or digest.how,
            hashed=moment(digest.hashed_at),
        )
        for name, digest in zip(files.names(), digests, strict=True)
    )


def moment(seconds: int | None) -> str | None:
    """Return a time in seconds since 1970 as an account has it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
