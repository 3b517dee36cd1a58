"""The provenance log: one JSON object on a line for each time that bytes were read to verify them.

Lines are only appended. A log that has grown to `LIMIT` is rotated: it becomes `models.jsonl.1`, that one `.2`, up to `KEPT`
of them, and the oldest is dropped. The format is described in `docs/reference/provenance-log.md`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from model_provisioner.fs.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT = 16 << 20
"""The size in bytes at which a log is full: some thirty thousand verifications."""
KEPT = 9
"""How many rotated logs are kept."""


def append(path: str, records: Iterable[dict[str, object]]) -> None:
    """Append records to the log at `path`, under its lock, so that lines of several processes never mix.

    If a kill or a power cut left half a line at the end, end that line first. Raises `StorageError`.
    """
    lines = b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
    if not lines:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _growing(path, len(lines)) as fd:
            size = os.fstat(fd).st_size
            if _is_torn(fd, size):
                lines = b"\n" + lines
            if os.write(fd, lines) != len(lines):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
    except OSError as error:
        raise storage_error("the provenance log could not be written", path, error) from None


@contextmanager
def _growing(path: str, more: int) -> Iterator[int]:
    """Open the log to append `more` bytes, and hold its lock; rotate a full one first."""
    rotated = False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_at(fd, path):
                continue  # another process rotated it while we waited for the lock
            size = os.fstat(fd).st_size
            if size and size + more > LIMIT and not rotated:
                rotated = True
                # If a file can't be renamed, the log grows on: no model fails for that.
                with suppress(OSError):
                    if _is_torn(fd, size):
                        os.write(fd, b"\n")
                    _rotate(path)
                    continue
            yield fd
            return
        finally:
            os.close(fd)


def _rotate(path: str) -> None:
    """Rename the log to `.1`, and each rotated log to the next number.

    The last goes first: a kill between two steps leaves a gap, which the next rotation fills. The caller holds the lock of
    the growing log, which keeps its name until the last step.
    """
    names = [path, *(f"{path}.{number}" for number in range(1, KEPT + 1))]
    gap = next((number for number, name in enumerate(names) if not os.path.lexists(name)), KEPT)
    for number in range(gap, 0, -1):
        os.rename(names[number - 1], names[number])


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


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
    """Yield name and bytes of the logs, the growing one first."""
    with ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        try:
            # Under the lock of the growing log no log is rotated, and none ends in half a line.
            while (log := _opened(path)) is not None:
                stack.enter_context(log)
                fcntl.flock(log, fcntl.LOCK_SH)
                if _is_at(log.fileno(), path):
                    break
                log.close()
            for number in range(1, KEPT + 1):
                if (old := _opened(f"{path}.{number}")) is not None:
                    opened[f"{path}.{number}"] = stack.enter_context(old)
            newest = b"" if log is None else log.read()
            if log is not None:
                log.close()
            yield path, newest
            for name, file in opened.items():
                yield name, file.read()
        except OSError as error:
            raise storage_error("the provenance log can't be read", path, error) from None


def _opened(path: str) -> BinaryIO | None:
    with suppress(FileNotFoundError):
        return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    return None
