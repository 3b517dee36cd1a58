"""The rows of the digest memo: which digests the bytes of a path had when it looked in some way.

One SQLite file in the state folder, shared by all projects and processes of a user. It is a cache: deleted, damaged,
locked or of another version it costs time, never truth. Its format is described in `docs/reference/state-folder.md`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from model_provisioner.errors import StorageError
from model_provisioner.fs.identity import Identity, identity_or_none
from model_provisioner.fs.sqlite import (
    Database,
    ForeignDatabaseError,
    ReadOnlyDatabase,
    from_column,
    in_chunks,
    to_column,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Value = TypeVar("Value")


@dataclass(frozen=True)
class Row:
    """What the memo last knew of a path."""

    identity: Identity
    fingerprint: str
    sha256: str
    settled: bool
    hashed_at: int | None = None
    """When SHA-256 last went over every byte, in seconds since 1970, by this machine's clock."""


_SCHEMA = """
CREATE TABLE file (
  path PRIMARY KEY, device TEXT NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns TEXT NOT NULL, ctime_ns TEXT NOT NULL,
  fingerprint TEXT NOT NULL, sha256 TEXT NOT NULL, settled INTEGER NOT NULL,
  hashed_at INTEGER
) WITHOUT ROWID;
CREATE INDEX file_inode ON file (inode)
"""
_COLUMNS = "device, inode, size, mtime_ns, ctime_ns, fingerprint, sha256, settled, hashed_at"
_LINKS = f"SELECT {_COLUMNS}, path FROM file WHERE settled = 1 AND inode {{}}"
_REPLACE = f"REPLACE INTO file (path, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class MemoRows:
    """The rows in the state folder `state`. Safe to use from every thread and process of the user."""

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        self._state = state
        self._rows: dict[str, Row | None] = {}
        """What `load` found of files, by path."""
        self._links: dict[str, list[tuple[Row, str]]] = {}
        """The settled rows of files that `load` did not find by their path, with the paths they are of, by inode."""
        self._database: Database | None = database(
            os.path.join(state, "memo.db"),
            title="digest memo",
            application_id=0x6D706D6F,
            version=2,
            schema=_SCHEMA,
            busy_seconds=5.0,
        )

    def load(self, paths: Iterable[str]) -> None:
        """Read what is recorded of many files at once, so that it is not asked for each of them.

        Rows that were loaded may be older than those in the file. That does no harm: a row stays true of the bytes it was
        made of, and before anything is read for the want of a row, the file is asked again.
        """
        for some, marks in in_chunks(paths):
            found = self._query(
                f"SELECT {_COLUMNS}, path FROM file WHERE path IN ({marks})", tuple(map(to_column, some))
            )
            self._rows.update(dict.fromkeys(some))
            self._rows.update((from_column(values[-1]), _row(values[:-1])) for values in found)
            self._load_links(path for path in some if self._rows[path] is None)

    def _load_links(self, paths: Iterable[str]) -> None:
        inodes = [str(now.inode) for path in paths if (now := identity_or_none(path)) is not None]
        self._links.update((inode, []) for inode in inodes)
        for some, marks in in_chunks(inodes):
            for values in self._query(_LINKS.format(f"IN ({marks})"), tuple(some)):
                self._links[str(values[1])].append((_row(values[:-1]), from_column(values[-1])))

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def last(self, path: str) -> Row | None:
        """Return what was last known of `path`, whatever it holds now."""
        if path in self._rows:
            return self._rows[path]
        rows = self._query(f"SELECT {_COLUMNS} FROM file WHERE path = ?", (to_column(path),))
        return _row(rows[0]) if rows else None

    def same_file(self, now: Identity) -> Row | None:
        """Find a settled row of another path to the very same file: a link, hard or symbolic."""
        links = self._links.get(str(now.inode))
        if links is None:
            rows = self._query(_LINKS.format("= ?"), (str(now.inode),))
            links = [(_row(values[:-1]), from_column(values[-1])) for values in rows]
        for row, path in links:
            if row.identity == now == identity_or_none(path):
                return row
        return None

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Record what was found of files, by path, in one transaction."""
        if not rows:
            return
        values = [_values(path, row) for path, row in rows.items()]

        def write(database: Database) -> None:
            with database.transaction() as connection:
                connection.executemany(_REPLACE, values)

        if not isinstance(self._database, ReadOnlyDatabase):
            self._use(write, None)
        self._rows.update((path, row) for path, row in rows.items() if path in self._rows)

    def disown(self, found: Mapping[Identity, str]) -> None:
        """Forget what rows of other names say of files whose SHA-256, by identity, was just found to be another."""
        values = [(str(each.inode), str(each.device), sha256) for each, sha256 in found.items()]

        def write(database: Database) -> int:
            with database.transaction() as connection:
                return connection.executemany(
                    "DELETE FROM file WHERE inode = ? AND device = ? AND sha256 <> ?", values
                ).rowcount

        if self._use(write, 0):
            self._rows.clear()
            self._links.clear()

    def _query(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return self._use(lambda database: database.query(sql, values), [])

    def _use(self, use: Callable[[Database], Value], without: Value) -> Value:
        """Return what `use` makes of the database, or `without` where it can't be used in this run."""
        if self._database is None:
            return without
        try:
            try:
                return use(self._database)
            except ForeignDatabaseError:  # damaged, or another version's: it is a cache, so begin a new one
                if isinstance(self._database, ReadOnlyDatabase):
                    raise
                self._database.delete()
                return use(self._database)
        except (StorageError, OSError):
            self._database = None
            return without


def _values(path: str, row: Row) -> tuple[object, ...]:
    where = row.identity
    times = str(where.mtime_ns), str(where.ctime_ns)
    file = str(where.device), str(where.inode), where.size, *times
    return to_column(path), *file, row.fingerprint, row.sha256, int(row.settled), row.hashed_at


def _row(values: tuple[object, ...]) -> Row:
    device, inode, size, mtime_ns, ctime_ns, fingerprint, sha256, settled, hashed_at = values[:9]
    # Device and inode are unsigned, and times may lie after 2262: SQLite's integers don't hold them, so they are text.
    where = Identity(int(str(device)), int(str(inode)), int(str(size)), int(str(mtime_ns)), int(str(ctime_ns)))
    last = hashed_at if isinstance(hashed_at, int) else None
    return Row(where, str(fingerprint), str(sha256), bool(settled), last)
