"""What runs on a worker: hash files, and say how they looked. It decides nothing.

A worker imports this module by its name, so it imports next to nothing. What it takes and returns is made of tuples, texts and
numbers alone: a coordinator of another version can still tell what it got.
"""

from __future__ import annotations

import hashlib
import os
import socket

from model_provisioner.fs.read import NotAFileError, open_regular

TYPE_CHECKING = False  # `typing` would be most of what is imported
if TYPE_CHECKING:
    from collections.abc import Sequence

    Look = tuple[int, int, int]
    """Size, mtime in nanoseconds and inode of a file."""
    Said = tuple[str, Look, Look] | tuple[str, Look] | tuple[Look] | str
    """SHA-256, and how the file looked before and after it was read; why it broke off, and how the file looked before; how it
    looked, where that was not as asked, and nothing was read; or why it could not be opened."""

BUFFER = 1 << 20


def hash_files(asked: Sequence[tuple[str, Look]]) -> tuple[str, list[Said]]:
    """Hash files, given by path and how they must look; return the name of this host, and what there is to say of each."""
    return socket.gethostname(), [_hash(path, look) for path, look in asked]


def look_of(status: os.stat_result) -> Look:
    """Return what coordinator and worker must see alike.

    Not the device, which each host numbers by itself, and not the ctime: each host keeps its own copy of a network file
    system's attributes for a while, and a new link or owner is no reason to read a file elsewhere.
    """
    return status.st_size, status.st_mtime_ns, status.st_ino


def _hash(path: str, look: Look) -> Said:
    try:
        fd = open_regular(path)
    except NotAFileError as error:
        return str(error.strerror)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    try:
        if (before := look_of(os.fstat(fd))) != look:
            return (before,)
        sha, view, left = hashlib.sha256(), memoryview(bytearray(BUFFER)), look[0] + 1  # one that grows is not followed
        while left > 0 and (count := os.readv(fd, [view[:left]])):
            sha.update(view[:count])
            left -= count
        return sha.hexdigest(), before, look_of(os.fstat(fd))
    except OSError as error:
        return error.strerror or str(error), look
    finally:
        os.close(fd)
