"""What a source says it has: the files of a remote reference, before a byte of them is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from model_provisioner.errors import FetchError
from model_provisioner.references.reference import HubRef, ObjectRef, OciRef, OllamaRef

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from model_provisioner.references.reference import ModelRef

FILES = 100_000
"""What a source may list of one reference: nobody names more of them a model."""
SECONDS = 300.0
"""What a listing may take in all."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a remote reference. Only the place of its bytes may hold credentials, and is never shown."""

    name: str
    """Its path in the set, parts parted by "/"; of a single file its name."""
    url: str = field(repr=False)
    """Where its bytes are; may hold credentials."""
    size: int | None = None
    """In bytes, where the source says."""
    sha256: str | None = None
    """In hexadecimal, what the source itself says, or the user or the lock."""
    git_blob: str | None = None
    """In hexadecimal, the SHA-1 of "blob <size>", NUL and the bytes: what a Hub knows of files that are not LFS."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to the host of `url` and to no other: credentials."""
    sign: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False, compare=False)
    """Gives more of them when the bytes are asked for: a signature lives for minutes, and a file may wait for its turn."""

    @property
    def all_headers(self) -> Mapping[str, str]:
        """What is sent to the host of `url` with a request of this moment."""
        return self.headers if self.sign is None else {**self.headers, **self.sign()}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All files of a remote reference, at one moment."""

    revision: str | None
    """The commit of a Hub repository, the digest of an artifact's manifest, the version or ETag of an object, else None."""
    files: tuple[RemoteFile, ...]
    """Sorted by name."""
    beside: tuple[RemoteFile, ...] = ()
    """What an artifact has beside the files that its reference means: each can be named."""


@dataclass(frozen=True)
class Patterns:
    """Which files of a whole repository or prefix an entry takes: all, where no pattern includes any, but the excluded."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def select(self, names: Collection[str], *, kind: str, place: str, where: str, fix: str) -> set[str]:
        """Return those of the names that match. Raises `FetchError` for none: "no `kind` `place` matches"."""
        found = {
            name for name in names if (not self.include or _any(name, self.include)) and not _any(name, self.exclude)
        }
        if not found:
            raise FetchError(
                f"no {kind} {place} matches include and exclude",
                where=where,
                expected=f"one of {len(names):,} {kind}s",
                found=f"include: {list(self.include)}, exclude: {list(self.exclude)}",
                fix=fix,
            )
        return found


def name_of(ref: ModelRef) -> str:
    """Return the name of the file, or of the first shard, that a remote reference names; empty where it names none."""
    if isinstance(ref, HubRef | OciRef | OllamaRef):
        return (ref.path or "").rpartition("/")[2]
    if isinstance(ref, ObjectRef):
        return ref.key.rpartition("/")[2]
    return unquote(urlsplit(ref.id).path.rpartition("/")[2])


def _any(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
