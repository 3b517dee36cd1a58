"""The record of the artifacts a project wrote (handoffs and `.sha256` targets), so that none is forgotten on the disk.

It lies in the project's part of the state folder. A file is recorded before it is written: a kill between the two leaves
a record without a file, which harms nobody, never a file without a record.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.fs.paths import names_in
from model_provisioner.fs.sqlite import Database, from_column, in_chunks, to_column

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEMA = "CREATE TABLE artifact (path PRIMARY KEY, config NOT NULL) WITHOUT ROWID"


class Ledger:
    """The artifacts of the project whose part of the state folder is `folder`, as far as `config` made them.

    A folder may hold several configurations; one takes back nothing that another one wrote.
    """

    def __init__(self, folder: str, config: str, *, database: type[Database] = Database) -> None:
        self._config = to_column(config)
        self._seen: set[str] = set()
        """What was recorded when `load` looked."""
        self._database = _open(folder, database)

    def artifacts(self) -> set[str]:
        """Return the paths of all files that the configuration wrote and did not withdraw."""
        rows = self._database.query("SELECT path FROM artifact WHERE config = ?", (self._config,))
        return {from_column(row[0]) for row in rows}

    def __contains__(self, path: object) -> bool:
        """Tell whether any configuration of the project wrote the file at `path`."""
        if path in self._seen:
            return True
        return bool(self._database.query("SELECT 1 FROM artifact WHERE path = ?", (to_column(str(path)),)))

    def load(self, paths: Iterable[str]) -> None:
        """Look for many paths at once, so that none of them is asked for on its own."""
        for some, marks in in_chunks(paths):
            rows = self._database.query(
                f"SELECT path FROM artifact WHERE path IN ({marks})", tuple(map(to_column, some))
            )
            self._seen.update(from_column(row[0]) for row in rows)

    def record(self, paths: Iterable[str]) -> None:
        """Note, in one transaction, that the files at `paths` are about to be written."""
        with self._database.transaction() as connection:
            connection.executemany(
                "REPLACE INTO artifact VALUES (?, ?)", [(to_column(path), self._config) for path in paths]
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def forget(self, paths: Iterable[str]) -> None:
        """Note, in one transaction, that the files at `paths` are gone."""
        gone = list(paths)
        self._seen.difference_update(gone)
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM artifact WHERE path = ?", [(to_column(path),) for path in gone])


def artifacts_of_all(state: str, *, database: type[Database]) -> set[str]:
    """Return the paths of the files that any project of the state folder wrote and did not withdraw."""
    found: set[str] = set()
    projects = os.path.join(state, "projects")
    for name in names_in(projects):
        rows = _open(os.path.join(projects, name), database).query("SELECT path FROM artifact")
        found.update(from_column(row[0]) for row in rows)
    return found


def _open(folder: str, database: type[Database]) -> Database:
    return database(
        os.path.join(folder, "build.db"), title="build record", application_id=0x6D706264, version=1, schema=_SCHEMA
    )
