"""The digest memo: which bytes a path was seen to hold, so that what did not change is never read again.

One SQLite file in the state folder, shared by all projects and processes of a user. It is a cache: deleted, damaged,
locked or of another version it costs time, never truth. Three steps, the first that answers wins:

1. the file's identity (device, inode, size, mtime, ctime) equals a settled row: nothing is read;
2. the size equals the path's last row: every byte is read, and where the fingerprint is that row's, it takes the new identity;
3. else SHA-256, with the fingerprint in the same pass.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from model_provisioner.artifacts.clock import at_rest
from model_provisioner.artifacts.database import (
    Database,
    ForeignDatabaseError,
    ReadOnlyDatabase,
    from_column,
    to_column,
)
from model_provisioner.artifacts.hashing import Identity, fingerprint, hash_both, identity, open_model, unreadable
from model_provisioner.artifacts.locks import locked
from model_provisioner.errors import ChangingModelError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

TRIES = 3

How = Literal["stat", "xxh3", "hashed"]


@dataclass(frozen=True)
class FileDigest:
    """The SHA-256 of the bytes that `path` held when its identity was `identity`, and how that is known."""

    path: str
    identity: Identity
    sha256: str
    how: How


@dataclass(frozen=True)
class Row:
    """What the memo last knew of a path."""

    identity: Identity
    fingerprint: str
    sha256: str
    settled: bool


_SCHEMA = """
CREATE TABLE file (
  path PRIMARY KEY, device TEXT NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns TEXT NOT NULL, ctime_ns TEXT NOT NULL,
  fingerprint TEXT NOT NULL, sha256 TEXT NOT NULL, settled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX file_inode ON file (inode)
"""
_COLUMNS = "device, inode, size, mtime_ns, ctime_ns, fingerprint, sha256, settled"


class Memo:
    """The memo in the state folder `state`. Safe to use from every thread and process of the user."""

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        self._state = state
        self._full: dict[str, FileDigest] = {}
        """What was read in full, by real path."""
        self._database: Database | None = database(
            os.path.join(state, "memo.db"),
            title="digest memo",
            application_id=0x6D706D6F,
            version=1,
            schema=_SCHEMA,
            busy_seconds=5.0,
        )

    def known(self, path: str) -> FileDigest | None:
        """Return the digest of the file at `path` if it is known without reading it (step 1)."""
        try:
            now = identity(os.stat(path))
        except (OSError, ValueError):
            return None
        row = self.last(path)
        if row is not None and row.settled and row.identity == now:
            return FileDigest(path, now, row.sha256, "stat")
        if (row := self._same_file(now)) is not None:
            return FileDigest(path, now, row.sha256, "stat")
        return None

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def settled(self) -> dict[str, Identity]:
        """Return the identities of all paths that need not be read as long as they keep them."""
        rows = self._query(f"SELECT {_COLUMNS}, path FROM file WHERE settled = 1", ())
        return {from_column(values[-1]): _row(values[:-1]).identity for values in rows}

    def last(self, path: str) -> Row | None:
        """Return what was last known of `path`, whatever it holds now."""
        rows = self._query(f"SELECT {_COLUMNS} FROM file WHERE path = ?", (to_column(path),))
        return _row(rows[0]) if rows else None

    def digest(
        self, path: str, progress: Callable[[int], object] = lambda _: None, *, trust_fingerprint: bool = True
    ) -> FileDigest:
        """Return the digest of the file at `path`, reading it only if it must be read.

        Threads and processes that ask for one file at one time wait for the first of them. With `trust_fingerprint`
        off, step 2 is left out.
        """
        if (known := self.known(path)) is not None:
            return known
        with locked(self._state, "hash", os.path.realpath(path)):
            if (known := self.known(path)) is not None:
                return known
            return self._read(path, progress, self.last(path) if trust_fingerprint else None)

    def digest_in_full(self, path: str, progress: Callable[[int], object] = lambda _: None) -> FileDigest:
        """Return the SHA-256 of every byte of `path`; the memo is written, not asked.

        Every byte is read once in the life of this object, as long as the file does not move.
        """
        real = os.path.realpath(path)
        with locked(self._state, "hash", real):
            found = self._full.get(real)
            try:
                if found is not None and found.identity == identity(os.stat(path)):
                    return replace(found, path=path)
            except OSError as error:
                raise unreadable(path, error) from None
            found = self._full[real] = self._read(path, progress, None)
            return found

    def same_content(self, path: str, progress: Callable[[int], object] = lambda _: None) -> bool:
        """Read the file and tell whether its fingerprint is that of the path's last row. Nothing is recorded."""
        row = self.last(path)
        if row is None:
            return False
        fd = open_model(path)
        try:
            return os.fstat(fd).st_size == row.identity.size and fingerprint(fd, progress) == row.fingerprint
        except OSError as error:
            raise unreadable(path, error) from None
        finally:
            os.close(fd)

    def _read(self, path: str, progress: Callable[[int], object], last: Row | None) -> FileDigest:
        for _ in range(TRIES):
            fd = open_model(path)
            try:
                _settle_pages(fd)
                before = identity(os.fstat(fd))
                settled = at_rest(path, before)
                confirmed = _confirm(fd, before, last, progress)
                row = confirmed or _hash(fd, before, progress)
                unmoved = before == identity(os.fstat(fd)) == identity(os.stat(path))
            except OSError as error:
                raise unreadable(path, error) from None
            finally:
                os.close(fd)
            if unmoved:
                self._keep(path, row, settled=settled)
                return FileDigest(path, before, row.sha256, "xxh3" if confirmed else "hashed")
        raise ChangingModelError(
            "the file keeps changing while it is read",
            where=path,
            expected="a file at rest",
            found=f"other bytes or times after each of {TRIES} readings",
            fix="wait until what writes it has ended, then run again",
        )

    def _same_file(self, now: Identity) -> Row | None:
        """Find a settled row of another path to the very same file: a link, hard or symbolic."""
        rows = self._query(f"SELECT {_COLUMNS}, path FROM file WHERE inode = ? AND settled = 1", (str(now.inode),))
        for values in rows:
            row = _row(values[:-1])
            try:
                if row.identity == now and identity(os.stat(from_column(values[-1]))) == now:
                    return row
            except OSError:
                continue
        return None

    def _keep(self, path: str, row: Row, *, settled: bool) -> None:
        now = row.identity
        values = (
            to_column(path),
            str(now.device),
            str(now.inode),
            now.size,
            str(now.mtime_ns),
            str(now.ctime_ns),
            row.fingerprint,
            row.sha256,
            int(settled),
        )

        def write(database: Database) -> None:
            with database.transaction() as connection:
                connection.execute(f"REPLACE INTO file (path, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

        self._use(write, None)

    def _query(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return self._use(lambda database: database.query(sql, values), [])

    def _use(self, use: Callable[[Database], Answer], without: Answer) -> Answer:
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


def _row(values: tuple[object, ...]) -> Row:
    device, inode, size, mtime_ns, ctime_ns, fingerprint, sha256, settled = values[:8]
    # Device and inode are unsigned, and times may lie after 2262: SQLite's integers don't hold them, so they are text.
    where = Identity(int(str(device)), int(str(inode)), int(str(size)), int(str(mtime_ns)), int(str(ctime_ns)))
    return Row(where, str(fingerprint), str(sha256), bool(settled))


def _confirm(fd: int, now: Identity, last: Row | None, progress: Callable[[int], object]) -> Row | None:
    """Take step 2: the row of `last` under the identity `now`, if the bytes are still the same."""
    if last is None or last.identity.size != now.size or fingerprint(fd, progress) != last.fingerprint:
        return None
    return Row(now, last.fingerprint, last.sha256, settled=False)


def _hash(fd: int, now: Identity, progress: Callable[[int], object]) -> Row:
    """Take step 3."""
    hashes = hash_both(fd, progress)
    return Row(now, hashes.fingerprint, hashes.sha256, settled=False)


def _settle_pages(fd: int) -> None:
    """Write dirty pages of the file out, so that a later store through an old shared mapping moves its times.

    Without this, a store to a page that is already dirty is seen by no stat call.
    """
    with contextlib.suppress(OSError):  # a read-only file system has no dirty pages
        getattr(os, "fdatasync", os.fsync)(fd)
