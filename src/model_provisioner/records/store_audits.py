"""The audit record of a store: its blobs, and when this user last read each of them in full.

It is the user's own, for a store may be shared, and what others say of an audit proves nothing. One database a store. Its
format stands in `docs/reference/state-folder.md`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SCHEMA = """
CREATE TABLE blob (sha256 BLOB PRIMARY KEY, size INTEGER NOT NULL, audited_at INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX blob_audited ON blob (audited_at, sha256)
"""
_PAGE = 1024


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A blob, as the record has it."""

    sha256: str
    size: int
    """In bytes."""
    audited_at: int
    """When it was last audited, in nanoseconds since 1970; 0 for never."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """Some of the blobs of a store, together."""

    blobs: int
    size: int
    """In bytes."""
    oldest: int | None
    """The first of the times when they were last audited, in nanoseconds since 1970: 0 for never, None of no blobs."""


class StoreAudits:
    """The audit record of the store at `root`, in the state folder `state`. Its methods raise `StorageError`."""

    def __init__(self, state: str, root: str, *, database: type[Database] = Database) -> None:
        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:20]
        self.path = os.path.join(state, "audits", f"{name}.db")
        """The file of the record."""
        self._database = database(
            self.path,
            title="audit record of the store",
            application_id=0x6D706175,
            schema=_SCHEMA,
            state=state,
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def found(self, digits: str, sizes: Mapping[str, int]) -> None:
        """Take over that these are the blobs whose SHA-256 begins with two digits: their sizes in bytes, by SHA-256."""
        first = bytes.fromhex(digits)
        rows = self._database.query(
            "SELECT sha256, size FROM blob WHERE sha256 >= ? AND sha256 < ?", (first, _after(first))
        )
        before = {_text(sha256): size for sha256, size in rows}
        changed = [(bytes.fromhex(each), size) for each, size in sizes.items() if before.get(each) != size]
        gone = [(bytes.fromhex(each),) for each in before.keys() - sizes.keys()]
        if changed or gone:
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM blob WHERE sha256 = ?", gone)
                connection.executemany(
                    "INSERT INTO blob (sha256, size) VALUES (?, ?) ON CONFLICT DO UPDATE SET size = excluded.size",
                    changed,
                )

    def distrust_after(self, now: int) -> int:
        """Count what was audited later than `now` as never audited: a clock went back. Return how many blobs that are."""
        with self._database.transaction() as connection:
            return connection.execute("UPDATE blob SET audited_at = 0 WHERE audited_at > ?", (now,)).rowcount

    def total(self, until: int) -> Total:
        """Return the blobs that were last audited at the time `until`, or before, together."""
        ((blobs, size, oldest),) = self._database.query(
            "SELECT count(*), ifnull(sum(size), 0), min(audited_at) FROM blob WHERE audited_at <= ?", (until,)
        )
        return Total(blobs=int(str(blobs)), size=int(str(size)), oldest=None if oldest is None else int(str(oldest)))

    def due(self, until: int) -> Iterator[Blob]:
        """Yield the blobs that were last audited at the time `until`, or before: the longest ago first.

        What is noted meanwhile of those that came is no trouble. Some are read at once, never all.
        """
        place: tuple[int, bytes] = (-1, b"")
        while rows := self._database.query(
            "SELECT audited_at, sha256, size FROM blob WHERE (audited_at, sha256) > (?, ?) AND audited_at <= ? "
            "ORDER BY audited_at, sha256 LIMIT ?",
            (*place, until, _PAGE),
        ):
            found = [Blob(sha256=_text(sha), size=int(str(size)), audited_at=int(str(at))) for at, sha, size in rows]
            yield from found
            place = found[-1].audited_at, bytes.fromhex(found[-1].sha256)

    def note(self, blobs: Iterable[str], time: int) -> None:
        """Note that blobs, by SHA-256, were read and are whole at a time, in nanoseconds since 1970."""
        self._execute(
            "UPDATE blob SET audited_at = ? WHERE sha256 = ?", [(time, bytes.fromhex(each)) for each in blobs]
        )

    def forget(self, blobs: Iterable[str]) -> None:
        """Note that blobs, by SHA-256, are not in the store any more."""
        self._execute("DELETE FROM blob WHERE sha256 = ?", [(bytes.fromhex(each),) for each in blobs])

    def _execute(self, statement: str, values: list[tuple[object, ...]]) -> None:
        if values:
            with self._database.transaction() as connection:
                connection.executemany(statement, values)


def _after(first: bytes) -> bytes:
    """Return what sorts behind all SHA-256s that begin with one byte."""
    return bytes([first[0] + 1]) if first[0] < 255 else b"\xff" * 33


def _text(sha256: object) -> str:
    return sha256.hex() if isinstance(sha256, bytes) else ""
