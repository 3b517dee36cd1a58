"""SQLite as all our records use it: WAL, a busy time-out, a version that is refused by name when it is not ours."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from model_provisioner.errors import StorageError
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.fs.read import NotOursError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from model_provisioner.fs.folder import Folder

_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_SCHEMA")
"""The errors that say something about the file itself, and not about the disk or about who else uses it."""


_HEADER = """
SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id, pragma_user_version
"""
"""One statement, which sees one state: between two of them another process could create the tables."""

_inherited: list[sqlite3.Connection] = []
"""Connections that came along through fork(). They belong to the parent: SQLite must see them neither used nor closed here."""


class ForeignDatabaseError(StorageError):
    """A database that this version of the program did not write, or that is damaged."""


class DamagedDatabaseError(ForeignDatabaseError):
    """A file that is no database, or no whole one."""


class Database:
    """One SQLite file. Opened at its first use; usable from every thread, and from a forked child."""

    def __init__(
        self,
        path: str,
        *,
        title: str,
        application_id: int,
        schema: str,
        version: int = 1,
        upgrades: Sequence[str] = (),
        busy_seconds: float = 30.0,
        state: str | None = None,
    ) -> None:
        """Take the script `schema`, which makes version `version`, and `upgrades`, each of which makes the next one of it.

        A database below the state folder `state` is the user's own; any other may belong to a member of a group.
        """
        self.path, self.title, self._busy_seconds = path, title, busy_seconds
        self._state = state
        self._application_id, self._first, self._schema, self._upgrades = application_id, version, schema, upgrades
        self._version = version + len(upgrades)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._opened: os.stat_result | None = None
        """The file that the connection has open: as long as it has, no other file gets that inode."""

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a reading statement."""
        with self._lock, self._errors_worded():
            return self._open().execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock of the database; all of the block is kept, or none of it."""
        with self._lock, self._errors_worded():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                connection.close()
            elif connection is not None:
                _inherited.append(connection)

    __del__ = close

    def delete(self) -> None:
        """Delete the file, which is damaged or foreign; the next use makes a new one, or opens the one that another made."""
        with self._lock, self._errors_worded(), self._folder() as folder:
            was_replaced = self._was_replaced(folder)
            self.close()
            for suffix in () if was_replaced else ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(self.path + suffix)

    def _was_replaced(self, folder: Folder) -> bool:
        """Tell whether another process, or another user of the file in this one, put a new one in its place meanwhile."""
        if self._connection is not None and self._opened is not None:
            now = stat_or_none(self.path)
            return now is not None and not os.path.samestat(now, self._opened)
        try:
            with self._errors_worded():
                self._connect_in(folder).close()
        except ForeignDatabaseError:
            return False
        return True

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            self.close()
            self._connection, self._pid = self._connect(), os.getpid()
        return self._connection

    @contextmanager
    def _folder(self) -> Iterator[Folder]:
        """Make the folder of the file where it is missing, and hold its lock."""
        from model_provisioner.fs.folder import PrivateFolder
        from model_provisioner.fs.locking.locks import (
            locked_folder,  # a run with nothing to do reads, and needs none of this
        )
        from model_provisioner.fs.root import ANYWHERE, Roots

        with ANYWHERE.anew() if self._state is None else Roots(self._state, kind=PrivateFolder) as roots:
            folder = roots.make(os.path.dirname(self.path))
            with locked_folder(folder):
                yield folder

    def _connect(self) -> sqlite3.Connection:
        # Under a lock: SQLite's change to WAL fails at once where another process holds the file.
        with self._folder() as folder:
            return self._connect_in(folder)

    def _connect_in(self, folder: Folder) -> sqlite3.Connection:
        before = self._files()
        connection = sqlite3.connect(
            self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            script = self._upgrade_from(self._read_version(connection))
            # What is committed is on the disk: a handoff may rely on it, and a user be told.
            connection.executescript(f"{script}PRAGMA synchronous=FULL")
            self._check_place(folder, before)
            self._opened = os.stat(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _files(self) -> os.stat_result | None:
        """Return the stat of the file, None where there is none; refuse what SQLite must not open there, or beside it.

        Raises `NotOursError` and `OSError`.
        """
        found = None
        for suffix in ("-journal", "-wal", "-shm", ""):
            path = self.path + suffix
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                found = None
                continue
            if stat.S_ISLNK(found.st_mode):
                raise NotOursError(path, f"a link to {os.readlink(path)}")
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # SQLite words what a folder is
                raise NotOursError(path, "a FIFO, a socket or a device")
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                raise NotOursError(path, "a hard link, another name of some file")
            if self._state is not None and found.st_uid != os.geteuid():
                raise NotOursError(path, f"something that belongs to the user {found.st_uid}")
        return found

    def _check_place(self, folder: Folder, before: os.stat_result | None) -> None:
        """Raise `OSError` where SQLite, which opens by path, may have opened another file than the one that was checked."""
        after = self._files()
        if not folder.is_at_its_path() or after is None or (before is not None and not os.path.samestat(before, after)):
            raise OSError(errno.ESTALE, "another file took its place while it was opened")

    def _read_version(self, connection: sqlite3.Connection) -> int | None:
        """Return the schema's version, None for a new file; refuse what is not ours."""
        application, version, tables = connection.execute(_HEADER).fetchone()
        if (application, version, tables) == (0, 0, 0):
            return None
        if application != self._application_id:
            raise ForeignDatabaseError(
                f"the {self.title} is a database of another program",
                where=self.path,
                expected=f"application_id {self._application_id:#x}",
                found=f"application_id {application:#x}",
                fix="it was left as it is: move it away, or set MODEL_PROVISIONER_STATE_DIR to another folder",
            )
        if not self._first <= version <= self._version:
            raise ForeignDatabaseError(
                f"the {self.title} was written by another version of model-provisioner",
                where=self.path,
                expected=f"schema version {self._version}",
                found=f"schema version {version}",
                fix="it was left as it is: use that version, move it away or set MODEL_PROVISIONER_STATE_DIR to another folder",
            )
        return int(version)

    def _upgrade_from(self, version: int | None) -> str:
        """Return the script that brings a database of `version`, None for a new file, to this one.

        It is one transaction: a kill leaves the file as it was, or upgraded.
        """
        if version == self._version:
            return ""
        scripts = (self._schema, *self._upgrades) if version is None else self._upgrades[version - self._first :]
        return ";\n".join(
            (
                "PRAGMA journal_mode=WAL; BEGIN IMMEDIATE" if version is None else "BEGIN IMMEDIATE",
                *scripts,
                f"PRAGMA application_id={self._application_id}",
                f"PRAGMA user_version={self._version}",
                "COMMIT;\n",
            )
        )

    @contextmanager
    def _errors_worded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            refused = isinstance(error, NotOursError)
            raise StorageError(
                f"the {self.title} can't be opened",
                where=str(error.filename) if refused else self.path,
                expected="a file or folder of our own" if refused else "a file that we can read and write",
                found=error.strerror or str(error),
                fix="set MODEL_PROVISIONER_STATE_DIR to a folder that you can write, on a local disk",
            ) from None
        except sqlite3.DatabaseError as error:
            # An error without a name is Python's own: a text that is not UTF-8, which we never wrote.
            if not getattr(error, "sqlite_errorname", "SQLITE_CORRUPT").startswith(_DAMAGE):
                raise StorageError(
                    f"the {self.title} can't be used now",
                    where=self.path,
                    expected="a database that can be read and written",
                    found=str(error),
                    fix="check that its disk is not full or read-only and that no other program holds it; then run again",
                ) from None
            raise DamagedDatabaseError(
                f"the {self.title} is damaged or not a database",
                where=self.path,
                expected="an SQLite database written by model-provisioner",
                found=str(error),
                fix="it was left as it is: move it away, or restore it from a backup; models and handoffs do not need it",
            ) from None


class ReadOnlyDatabase(Database):
    """A database that is only read: never made, never changed, and read where nothing can be written."""

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a reading statement; none where there is no file."""
        return super().query(sql, values) if os.path.exists(self.path) else []

    def _connect(self) -> sqlite3.Connection:
        self._files()
        try:
            return self._look(self.path)
        except sqlite3.OperationalError:
            # SQLite reads a WAL database only where it may write its index: elsewhere a copy is read.
            with tempfile.TemporaryDirectory() as folder:
                for suffix in ("", "-wal"):
                    if os.path.exists(self.path + suffix):
                        shutil.copyfile(self.path + suffix, os.path.join(folder, "copy.db" + suffix))
                return _in_memory(self._look(os.path.join(folder, "copy.db")))

    def _look(self, path: str) -> sqlite3.Connection:
        # Without a log no process has the database open; it is read without making one, so that no file is left behind.
        untouched = "" if os.path.exists(path + "-wal") else "&immutable=1"
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?mode=ro{untouched}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if (version := self._read_version(connection)) == self._version:
                return connection
            if version is not None:  # a reader leaves the file as it is
                connection = _in_memory(connection)
                connection.executescript(self._upgrade_from(version))
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        empty = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        empty.executescript(self._upgrade_from(None))  # another process is just making the file
        return empty


def _in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy of a database that is nowhere but here; close the connection to it."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with closing(connection):
        connection.backup(memory)
    return memory


def in_chunks(keys: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Yield `keys` in lists that one statement takes as its parameters, and the placeholders for them."""
    left = iter(keys)
    while some := list(islice(left, 500)):
        yield some, ", ".join("?" * len(some))


def to_column(text: str) -> str | bytes:
    """Return `text` as SQLite can hold it: a name that is not UTF-8 becomes its bytes."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def from_column(value: object) -> str:
    """Return what `to_column` stored."""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
