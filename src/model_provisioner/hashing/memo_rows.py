"""The rows of the digest memo: which bytes a path held when its stat identity was this one. No model is read here.

One SQLite file in the state folder, shared by all projects and processes of a user. It is a cache: deleted, damaged,
locked or of another version, it costs time, never truth. Its format is described in `docs/reference/state-folder.md`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

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
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

Value = TypeVar("Value")


Ground = Literal["hashed", "said", "xxh3"]
"""On what a digest stands: SHA-256 of the bytes under this identity, taken here or, as a worker of a cluster said, there; or
their fingerprint, which was that of hashed bytes."""


_GROUNDS: dict[object, Ground] = {"hashed": "hashed", "said": "said"}


@dataclass(frozen=True)
class Row:
    """What the memo last recorded of a path."""

    identity: Identity
    fingerprint: str | None
    """None where none was taken, or an earlier version took it."""
    sha256: str
    ground: Ground
    settled: bool
    """Whether a later write would have changed the identity: only then the identity proves the bytes."""
    hashed_at: int | None = None
    """When SHA-256 last went over every byte, in seconds since 1970, by this machine's clock."""


_VERSION_2 = """
CREATE TABLE file (
  path PRIMARY KEY, device TEXT NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns TEXT NOT NULL, ctime_ns TEXT NOT NULL,
  fingerprint TEXT NOT NULL, sha256 TEXT NOT NULL, settled INTEGER NOT NULL,
  hashed_at INTEGER
) WITHOUT ROWID;
CREATE INDEX file_inode ON file (inode)
"""

# Fingerprints were without a key: none of them is kept. A row whose ctime is not after its `hashed_at` was hashed in full
# under that stat. The others were confirmed by such a fingerprint, or nobody noted when they were hashed.
_VERSION_3 = """
ALTER TABLE file RENAME TO file_2;
CREATE TABLE file (
  path PRIMARY KEY, device TEXT NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns TEXT NOT NULL, ctime_ns TEXT NOT NULL,
  fingerprint TEXT, sha256 TEXT NOT NULL, ground TEXT NOT NULL, settled INTEGER NOT NULL,
  hashed_at INTEGER
) WITHOUT ROWID;
INSERT INTO file SELECT path, device, inode, size, mtime_ns, ctime_ns, NULL, sha256,
  CASE WHEN in_full THEN 'hashed' ELSE 'xxh3' END, settled AND in_full, hashed_at
  FROM (SELECT *, ifnull(CAST(ctime_ns AS INTEGER) <= hashed_at * 1000000000, 0) AS in_full FROM file_2);
DROP TABLE file_2;
CREATE INDEX file_inode ON file (inode)
"""
_COLUMNS = "path, device, inode, size, mtime_ns, ctime_ns, fingerprint, sha256, ground, settled, hashed_at"
_SELECT = f"SELECT {_COLUMNS} FROM file WHERE"
_REPLACE = f"REPLACE INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNSETTLE = """
UPDATE file SET settled = 0
WHERE inode = ? AND device = ? AND settled = 1 AND NOT (size = ? AND mtime_ns = ? AND ctime_ns = ?)
"""


class MemoRows:
    """The rows in the state folder `state`. Safe to use from every thread and process of the user.

    A batch is loaded once (`load`) and recorded once (`keep`). A path that was not loaded costs statements of its own.
    """

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        self._state = state
        self._read_only = issubclass(database, ReadOnlyDatabase)
        self._rows: dict[str, Row | None] = {}
        """The rows that were loaded, by path."""
        self._links: dict[str, list[tuple[str, Row]]] = {}
        """Of loaded paths that are not as their row says: paths and settled rows of the files with the same inode, by inode."""
        self._database: Database | None = database(
            os.path.join(state, "memo.db"),
            title="digest memo",
            state=state,
            application_id=0x6D706D6F,
            version=2,
            schema=_VERSION_2,
            upgrades=(_VERSION_3,),
            busy_seconds=5.0,
        )

    def load(self, paths: Iterable[str]) -> None:
        """Read the rows of many files at once, as far as that was not done, so that they are not read one by one.

        Later they may be older than the database. That does no harm: a row stays true of the bytes it was made of, and
        before a file is read for want of a row, the row is loaded again.
        """
        self.load_again(path for path in paths if path not in self._rows)

    def load_again(self, paths: Iterable[str]) -> None:
        """Read the rows of many files at once, as the database has them now."""
        found = self._select(paths)
        self._rows.update(found)
        identities = {path: identity_or_none(path) for path in found}
        moved = (now for path, now in identities.items() if (row := found[path]) is None or row.identity != now)
        self._links.update(self._select_links(str(now.inode) for now in moved if now is not None))

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()

    def last(self, path: str) -> Row | None:
        """Return what was last recorded of `path`, whatever it holds now."""
        rows = self._rows  # another thread may begin new ones
        return rows[path] if path in rows else self._select([path])[path]

    def same_file(self, now: Identity, grounds: Collection[Ground]) -> Row | None:
        """Find a settled row, on one of `grounds`, of another path to the very same file: a link, hard or symbolic."""
        for path, row in self._linked(now):
            if row.ground in grounds and row.identity == now == identity_or_none(path):
                return row
        return None

    def unsettle(self, paths: Iterable[str]) -> None:
        """Let no row vouch for files that moved since, under any name, before their bytes are synced to the disk.

        A power cut may keep the new bytes and lose their new times: then the old rows would say what they held before.
        """
        if self._read_only:
            return
        paths, moved = list(paths), []
        for path in paths:
            now = identity_or_none(path)
            if now is not None and (self.last(path) is not None or self._linked(now)):
                moved.append((str(now.inode), str(now.device), now.size, str(now.mtime_ns), str(now.ctime_ns)))
        if moved and self._write(_UNSETTLE, moved):
            self._forget()
            self.load_again(paths)

    def _linked(self, now: Identity) -> list[tuple[str, Row]]:
        """Return paths and settled rows of all that have this inode number."""
        inode = str(now.inode)
        links = self._links
        return links[inode] if inode in links else self._select_links([inode])[inode]

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Record rows, by path, in one transaction."""
        if not rows:
            return
        if not self._read_only:
            self._write(_REPLACE, [_values(path, row) for path, row in rows.items()])
        loaded = self._rows
        loaded.update((path, row) for path, row in rows.items() if path in loaded)

    def disown(self, found: Mapping[Identity, str]) -> None:
        """Delete the rows of other names of files whose SHA-256, by identity, was just found to be another one."""
        values = [(str(each.inode), str(each.device), sha256) for each, sha256 in found.items()]
        if self._write("DELETE FROM file WHERE inode = ? AND device = ? AND sha256 <> ?", values):
            self._forget()

    def _forget(self) -> None:
        """Let all be loaded again that was loaded."""
        self._rows, self._links = {}, {}

    def _select(self, paths: Iterable[str]) -> dict[str, Row | None]:
        """Return the row of each path, None where there is none."""
        found: dict[str, Row | None] = dict.fromkeys(paths)
        for some, marks in in_chunks(list(found)):
            found.update(map(_row, self._query(f"{_SELECT} path IN ({marks})", map(to_column, some))))
        return found

    def _select_links(self, inodes: Iterable[str]) -> dict[str, list[tuple[str, Row]]]:
        """Return paths and settled rows of the files of each inode."""
        found: dict[str, list[tuple[str, Row]]] = {inode: [] for inode in inodes}
        for some, marks in in_chunks(list(found)):
            for path, row in map(_row, self._query(f"{_SELECT} settled = 1 AND inode IN ({marks})", some)):
                found[str(row.identity.inode)].append((path, row))
        return found

    def _query(self, sql: str, values: Iterable[object]) -> list[tuple[object, ...]]:
        parameters = tuple(values)
        return self._use(lambda database: database.query(sql, parameters), [])

    def _write(self, sql: str, values: Sequence[tuple[object, ...]]) -> int:
        """Execute a statement for each of `values`, in one transaction; return the number of rows that it changed."""

        def write(database: Database) -> int:
            with database.transaction() as connection:
                return connection.executemany(sql, values).rowcount

        return self._use(write, 0)

    def _use(self, use: Callable[[Database], Value], without: Value) -> Value:
        """Return what `use` makes of the database, or `without` where it can't be used in this run."""
        if self._database is None:
            return without
        try:
            try:
                return use(self._database)
            except ForeignDatabaseError:  # damaged, or another version's: it is a cache, so begin a new one
                if self._read_only:
                    raise
                self._database.delete()
                return use(self._database)
        except (StorageError, OSError):
            self._database = None
            return without


def _values(path: str, row: Row) -> tuple[object, ...]:
    # Device and inode are unsigned, and times may lie after 2262: SQLite's integers don't hold them, so they are text.
    device, inode, size, mtime_ns, ctime_ns = row.identity
    where = str(device), str(inode), size, str(mtime_ns), str(ctime_ns)
    return to_column(path), *where, row.fingerprint, row.sha256, row.ground, int(row.settled), row.hashed_at


def _row(values: tuple[object, ...]) -> tuple[str, Row]:
    """Return the path and the row of what `_values` stored."""
    path, *where, fingerprint, sha256, ground, settled, hashed_at = values
    last = hashed_at if isinstance(hashed_at, int) else None
    found = Identity(*map(int, map(str, where)))
    taken = None if fingerprint is None else str(fingerprint)
    row = Row(found, taken, str(sha256), _GROUNDS.get(ground, "xxh3"), bool(settled), last)
    return from_column(path), row
