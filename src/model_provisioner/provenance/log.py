"""The log of verifications: one JSON object a line, for each time that bytes were read to verify them.

Lines are only appended. A log that grew to `LIMIT` becomes `models.jsonl.1`, that one `.2`, up to `KEPT` of them; the oldest
goes. The format is described in `docs/reference/provenance-log.md`.
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
"""The bytes at which a log is full: the lines of some thirty thousand verifications."""
READ = 1 << 30
"""How many bytes of a log are read: a batch of records may make one longer than `LIMIT`."""
KEPT = 9
"""How many full logs are kept beside the one that grows."""


def append(path: str, records: Iterable[dict[str, object]]) -> None:
    """Append records to the log at `path`, under its lock, so that lines of several processes never mix.

    A last line that a kill or a power cut tore is closed first, so that it spoils no other.
    """
    lines = b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
    if not lines:
        return
    above, name = os.path.split(path)
    try:
        with _growing(Folder.made(above), name, len(lines)) as fd:
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
    """Open the log that takes `more` bytes, and hold its lock; a full one is put away first."""
    put_away = False
    while True:
        fd = open_locked(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(fd).st_size
            if size and size + more > LIMIT and not put_away:
                put_away = True
                # Where a name can't be changed, the log grows on: no model fails for that.
                with suppress(OSError):
                    if _is_torn(fd, size):
                        os.write(fd, b"\n")
                    _put_away(folder, name)
                    continue
            yield fd
            return
        finally:
            os.close(fd)


def _put_away(folder: Folder, name: str) -> None:
    """Give the log the first name of those put away, and each of these the next one.

    From the last to the first: a kill between two steps leaves a gap, and the next log that is put away fills it.
    Only who holds the lock of the growing log does this, and it has its name until the last step.
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
class Torn:
    """A line that is no record: what a kill or a power cut left of one."""

    path: str
    number: int


def newest_first(path: str) -> Iterator[dict[str, Any] | Torn]:
    """Yield the records of the log at `path` and of those put away, the last one first. Raises `StorageError`."""
    for name, data in _logs(path):
        lines = data.split(b"\n")
        for number in range(len(lines), 0, -1):
            line = lines[number - 1]
            if line.strip():
                yield _record(line) or Torn(name, number)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _logs(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of the logs, the growing one first."""
    above, name = os.path.split(path)
    opened: dict[str, int] = {}
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):
                folder = Folder.at(above)
                with ExitStack() as locked:
                    # Under the lock of the growing one, so that none is put away meanwhile, and none has half a line.
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
