"""What a source says it has: the files of a remote reference, before a byte of them is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All files of a remote reference, at one moment."""

    revision: str | None
    """The commit of a Hub repository, the version or ETag of a single object of S3 storage, else None."""
    files: tuple[RemoteFile, ...]
    """Sorted by name."""
