"""The provenance log: one JSON object on a line for each time that bytes were read to verify them.

Lines are only appended. A log that has grown to `LIMIT` is rotated: it becomes `models.jsonl.1`, that one `.2`, up to `KEPT`
of them, and the oldest is dropped. The format is described in `docs/reference/provenance-log.md`.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.fs.locks import open_locked
from model_provisioner.fs.read import read_descriptor
from model_provisioner.fs.root import Folder
from model_provisioner.fs.unreachable import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT = 16 << 20
"""The size in bytes at which a log is full: some thirty thousand verifications."""
READ = 1 << 30
"""How many bytes of a log are read: a batch of records may make it larger than `LIMIT`."""
KEPT = 9
"""How many rotated logs are kept."""


def append(path: str, records: Iterable[dict[str, object]]) -> None:
    """Append records to the log at `path`, under its lock, so that lines of several processes never mix.

    If a kill or a power cut left half a line at the end, end that line first. Raises `StorageError`.
    """
    lines = b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
    if not lines:
        return
    above, name = os.path.split(path)
    try:
        with Folder.made(above) as folder, _growing(folder, name, len(lines)) as fd:
            size = os.fstat(fd).st_size
            if _is_torn(fd, size):
                lines = b"\n" + lines
            if os.write(fd, lines) != len(lines):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
    except OSError as error:
        raise storage_error("the provenance log could not be written", path, error) from None


@contextmanager
def _growing(folder: Folder, name: str, more: int) -> Iterator[int]:
    """Open the log to append `more` bytes, and hold its lock; rotate a full one first."""
    rotated = False
    while True:
        fd = open_locked(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
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


@dataclass(frozen=True)
class TornLine:
    """A line that is no JSON object: a kill or a power cut left a part of it."""

    path: str
    number: int


def newest_first(path: str) -> Iterator[dict[str, Any] | TornLine]:
    """Yield the lines of the log at `path` and of the rotated ones, the last line first. Raises `StorageError`."""
    for name, data in _logs(path):
        lines = data.split(b"\n")
        for number in range(len(lines), 0, -1):
            line = lines[number - 1]
            if line.strip():
                yield _object(line) or TornLine(name, number)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _logs(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of the logs, the growing one first."""
    above, name = os.path.split(path)
    opened: dict[str, int] = {}
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):
                folder = stack.enter_context(Folder.at(above))
                with ExitStack() as locked:
                    # Under the lock of the growing log no log is rotated, and none ends in half a line.
                    with suppress(FileNotFoundError):
                        opened[name] = open_locked(folder, name, os.O_RDONLY, shared=True)
                        locked.callback(os.close, opened[name])
                    for old in _names(name)[1:]:
                        with suppress(FileNotFoundError):
                            opened[old] = folder.open(old, os.O_RDONLY)
                            stack.callback(os.close, opened[old])
                    newest = read_descriptor(opened.pop(name), READ) if name in opened else b""
                yield path, newest
                for each, fd in opened.items():
                    yield folder.path_of(each), read_descriptor(fd, READ)
        except OSError as error:
            raise storage_error("the provenance log can't be read", path, error) from None
