"""What a stat call tells of a file, and whether it can be believed to move with its bytes: see `clock`."""

from __future__ import annotations

import os
from typing import NamedTuple


class Identity(NamedTuple):
    """What a stat call tells of a file: equal identities at rest mean the same bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity(status: os.stat_result) -> Identity:
    """Return the identity in a stat result."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def identity_of(path: str) -> Identity:
    """Return the identity of the file at `path`; links are followed. Raises `OSError`."""
    return identity(os.stat(path))


def stat_or_none(path: str) -> os.stat_result | None:
    """Return the stat of the file at `path`; links are followed. None where there is none, or it can't be read."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def identity_or_none(path: str) -> Identity | None:
    """Return the identity of the file at `path`; links are followed. None where there is none, or it can't be read."""
    return None if (status := stat_or_none(path)) is None else identity(status)


def size_or_zero(path: str) -> int:
    """Return the bytes of the file at `path`, 0 where there is none: whoever reads it says so."""
    return 0 if (status := stat_or_none(path)) is None else status.st_size
