"""The append-only log of verifications: one JSON object a line, for each time that bytes were read to verify them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from typing import TYPE_CHECKING

from model_provisioner.artifacts.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable


def append(path: str, records: Iterable[dict[str, object]]) -> None:
    """Append records to the log at `path`, under its lock, so that lines of several processes never mix.

    A last line that a kill or a power cut tore is closed first, so that it spoils no other.
    """
    lines = b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
    if not lines:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            if os.write(fd, lines) != len(lines):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise storage_error("the provenance log could not be written", path, error) from None
