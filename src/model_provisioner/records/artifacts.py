"""The build record: the artifacts that a project wrote (handoffs and `.sha256` targets), so that none is left behind.

It lies in the project's part of the state folder. A file is recorded before it is written: a kill between the two leaves
a record without a file, which harms nobody, and never a file without a record.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.fs.paths import names_in
from model_provisioner.fs.sqlite import Database, from_column, in_chunks, to_column

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEMA = "CREATE TABLE artifact (path PRIMARY KEY, config NOT NULL) WITHOUT ROWID"


class BuildRecord:
    """The build record in `folder`, a project's part of the state folder `state`, as the configuration `config` sees it.

    A project may have several configurations; none withdraws what another one wrote.
    """

    def __init__(self, state: str, folder: str, config: str, *, database: type[Database] = Database) -> None:
        self._config = to_column(config)
        self._loaded: set[str] = set()
        """The paths that `load` found recorded."""
        self._database = _open(state, folder, database)

    def artifacts(self) -> set[str]:
        """Return the paths of all files that this configuration wrote and did not withdraw."""
        found = self._database.query("SELECT path FROM artifact WHERE config = ?", (self._config,))
        return {from_column(path) for (path,) in found}

    def __contains__(self, path: object) -> bool:
        """Tell whether any configuration of the project wrote the file at `path`."""
        if path in self._loaded:
            return True
        return bool(self._database.query("SELECT 1 FROM artifact WHERE path = ?", (to_column(str(path)),)))

    def load(self, paths: Iterable[str]) -> None:
        """Look up many paths at once."""
        for some, marks in in_chunks(paths):
            found = self._database.query(f"SELECT path FROM artifact WHERE path IN ({marks})", [*map(to_column, some)])
            self._loaded.update(from_column(path) for (path,) in found)

    def record(self, paths: Iterable[str]) -> None:
        """Record, in one transaction, files that are about to be written."""
        with self._database.transaction() as connection:
            connection.executemany(
                "REPLACE INTO artifact VALUES (?, ?)", [(to_column(path), self._config) for path in paths]
            )

    def forget(self, paths: Iterable[str]) -> None:
        """Delete, in one transaction, the records of files that are gone."""
        gone = list(paths)
        self._loaded.difference_update(gone)
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM artifact WHERE path = ?", [(to_column(path),) for path in gone])

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def artifacts_of_all(state: str, *, database: type[Database]) -> set[str]:
    """Return the paths of the files that the projects of the state folder wrote and did not withdraw."""
    found: set[str] = set()
    projects = os.path.join(state, "projects")
    for name in names_in(projects):
        rows = _open(state, os.path.join(projects, name), database).query("SELECT path FROM artifact")
        found.update(from_column(path) for (path,) in rows)
    return found


def writer_of(state: str, path: str, *, database: type[Database]) -> str | None:
    """Return the configuration, of any project of the state folder, that wrote the file at a path; None if none did."""
    projects = os.path.join(state, "projects")
    for name in names_in(projects):
        record = _open(state, os.path.join(projects, name), database)
        for (config,) in record.query("SELECT config FROM artifact WHERE path = ?", (to_column(path),)):
            return from_column(config)
    return None


def _open(state: str, folder: str, database: type[Database]) -> Database:
    return database(
        os.path.join(folder, "build.db"),
        title="build record",
        application_id=0x6D706264,
        version=1,
        schema=_SCHEMA,
        state=state,
    )
