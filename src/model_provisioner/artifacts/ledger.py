"""The record of the artifacts a project wrote (handoffs and `.sha256` targets), so that none is forgotten on the disk.

It lies in the project's part of the state folder. A file is recorded before it is written: a kill between the two leaves
a record without a file, which harms nobody, never a file without a record.
"""

from __future__ import annotations

import os

from model_provisioner.artifacts.database import Database, from_column, to_column

_SCHEMA = "CREATE TABLE artifact (path PRIMARY KEY, config NOT NULL) WITHOUT ROWID"


class Ledger:
    """The artifacts of the project whose part of the state folder is `folder`, as far as `config` made them.

    A folder may hold several configurations; one takes back nothing that another one wrote.
    """

    def __init__(self, folder: str, config: str, *, database: type[Database] = Database) -> None:
        self._config = to_column(config)
        self._recorded: set[str] = set()
        """What this object recorded itself."""
        self._database = database(
            os.path.join(folder, "build.db"), title="build record", application_id=0x6D706264, version=1, schema=_SCHEMA
        )

    def artifacts(self) -> set[str]:
        """Return the paths of all files that the configuration wrote and did not withdraw."""
        rows = self._database.query("SELECT path FROM artifact WHERE config = ?", (self._config,))
        return {from_column(row[0]) for row in rows}

    def __contains__(self, path: object) -> bool:
        """Tell whether any configuration of the project wrote the file at `path`."""
        return bool(self._database.query("SELECT 1 FROM artifact WHERE path = ?", (to_column(str(path)),)))

    def record(self, *paths: str) -> None:
        """Note, in one transaction, that the files at `paths` are about to be written."""
        if new := [path for path in paths if path not in self._recorded]:
            with self._database.transaction() as connection:
                connection.executemany(
                    "REPLACE INTO artifact VALUES (?, ?)", [(to_column(path), self._config) for path in new]
                )
            self._recorded.update(new)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def forget(self, path: str) -> None:
        """Note that the file at `path` is gone."""
        self._recorded.discard(path)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM artifact WHERE path = ?", (to_column(path),))
