"""The provenance log: one JSON object on a line for each time that bytes were read to verify them.

It is an export for others to read. This program never reads it back: a project may have brought it.

Lines are only appended. A log that has grown to `LIMIT` is rotated: it becomes `models.jsonl.1`, that one `.2`, up to `KEPT`
of them, and the oldest is dropped. The format is described in `docs/reference/provenance-log.md`.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from model_provisioner.fs.locking.locks import open_locked
from model_provisioner.fs.root import ANYWHERE
from model_provisioner.fs.unreachable import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model_provisioner.fs.folder import Folder
    from model_provisioner.fs.root import Roots

LIMIT = 16 << 20
"""The size in bytes at which a log is full: some thirty thousand verifications."""
KEPT = 9
"""How many rotated logs are kept."""


def append(path: str, records: Iterable[dict[str, object]], roots: Roots = ANYWHERE) -> None:
    """Append records to the log at `path`, under its lock, so that lines of several processes never mix.

    If a kill or a power cut left half a line at the end, end that line first. Raises `StorageError`.
    """
    lines = b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
    if not lines:
        return
    above, name = os.path.split(path)
    try:
        with roots.anew() as here, _growing(here.make(above), name, len(lines)) as fd:
            size = os.fstat(fd).st_size
            if _is_torn(fd, size):
                lines = b"\n" + lines
            if os.write(fd, lines) != len(lines):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301  worded below
    except OSError as error:
        raise storage_error("the provenance log could not be written", path, error) from None


@contextmanager
def _growing(folder: Folder, name: str, more: int) -> Iterator[int]:
    """Open the log to append `more` bytes, and hold its lock; rotate a full one first."""
    rotated = False
    while True:
        fd = open_locked(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT, put_away=_rotate)
        try:
            size = os.fstat(fd).st_size
            if size and size + more > LIMIT and not rotated:
                rotated = True
                # If a file can't be renamed, the log grows on: no model fails for that.
                with suppress(OSError):
                    if _is_torn(fd, size):
                        os.write(fd, b"\n")
                    _rotate(folder, name)
                    continue
            yield fd
            return
        finally:
            os.close(fd)


def _rotate(folder: Folder, name: str) -> None:
    """Rename the log to `.1`, and each rotated log to the next number.

    The last goes first: a kill between two steps leaves a gap, which the next rotation fills. The caller holds the lock of
    the growing log, which keeps its name until the last step.
    """
    names = _names(name)
    gap = next((number for number, each in enumerate(names) if not folder.has(each)), KEPT)
    for number in range(gap, 0, -1):
        folder.rename(names[number - 1], folder, names[number])


def _names(name: str) -> list[str]:
    """Return the names of the logs, the growing one first."""
    return [name, *(f"{name}.{number}" for number in range(1, KEPT + 1))]


def _is_torn(fd: int, size: int) -> bool:
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
