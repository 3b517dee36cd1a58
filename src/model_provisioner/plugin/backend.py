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
                connection = super()._sqlite3(name)
                connection.isolation_level = None
                connection.execute("PRAGMA busy_timeout=30000")
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
        except (sqlite3.Error, OSError) as error:
            raise DatabaseException(f"{name}: {error}") from None
        return connection

    def dump(self) -> None:
        """Write the rows of this run."""
        import sqlite3

        try:
            super().dump()
        except sqlite3.Error as error:
            raise DatabaseException(f"{self.name}: {error}") from None
