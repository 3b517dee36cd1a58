"""doit's rows in SQLite, as doit keeps them, but safe for two runs at once.

This module is imported by every doit command in the environment: it does nothing at import.
"""

from __future__ import annotations

from typing import Any

from doit.dependency import DatabaseException, SqliteDB


class StateDB(SqliteDB):  # type: ignore[misc]  # doit has no types
    """doit's own SQLite backend, which holds its write lock from the first failure to the end of the run; ours lets go."""

    desc = "SQLite, shared by runs at the same time"

    def _sqlite3(self, name: str) -> Any:
        import os
        import sqlite3

        from model_provisioner.artifacts.database import alone_in

        try:
            with alone_in(os.path.dirname(os.path.abspath(name))):
                try:
                    return self._connected(name)
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorname not in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
                        raise
                for suffix in ("", "-wal", "-shm"):  # damaged; it may be lost at any time, so begin a new one
                    if os.path.exists(name + suffix):
                        os.unlink(name + suffix)
                return self._connected(name)
        except (sqlite3.Error, OSError) as error:
            raise DatabaseException(f"{name}: {error}") from None

    def _connected(self, name: str) -> Any:
        try:
            connection = super()._sqlite3(name)
        except DatabaseException as error:
            raise error.__context__ or error from None
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def dump(self) -> None:
        """Write the rows of this run."""
        import sqlite3

        try:
            super().dump()
        except sqlite3.Error as error:
            raise DatabaseException(f"{self.name}: {error}") from None
