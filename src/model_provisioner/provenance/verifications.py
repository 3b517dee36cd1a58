"""Verifications: the last one of each entry, as it was recorded in the state folder. Statements are made of these.

The log in the project has the same and more, for others to read: it may come with a clone, and is never read back.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.fs.sqlite import DamagedDatabaseError, from_column, in_chunks, to_column
from model_provisioner.provenance.record import ProvenanceRecord
from model_provisioner.references.reference import id_now

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from model_provisioner.fs.sqlite import Database


class Verifications:
    """The last verification of each entry, in the catalog's database. It goes with the entry's row there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, project: str, name: str) -> ProvenanceRecord | None:
        """Return that of an entry; None where none was recorded."""
        return self._parsed(
            self._database.query(
                "SELECT name, record FROM verification WHERE project = ? AND name = ?",
                (to_column(project), to_column(name)),
            )
        ).get(name)

    def of_project(self, project: str) -> dict[str, ProvenanceRecord]:
        """Return those of all entries of a project, by name."""
        return self._parsed(
            self._database.query("SELECT name, record FROM verification WHERE project = ?", (to_column(project),))
        )

    def note(self, project: str, records: Sequence[ProvenanceRecord]) -> None:
        """Record verifications, in one transaction.

        One that read nothing tells less than the one before of the same bytes under the same policy, which stays.
        """
        if not records:
            return
        with self._database.transaction() as connection:
            before = self._before(connection, project, [record.name for record in records if record.how == "stat"])
            rows = [
                (to_column(project), to_column(record.name), json.dumps(record.to_dict(), sort_keys=True))
                for record in records
                if record.name not in before or not before[record.name].tells_of(record)
            ]
            connection.executemany("REPLACE INTO verification VALUES (?, ?, ?)", rows)

    def _before(
        self, connection: sqlite3.Connection, project: str, names: Iterable[str]
    ) -> dict[str, ProvenanceRecord]:
        found: dict[str, ProvenanceRecord] = {}
        for some, marks in in_chunks(names):
            rows = connection.execute(
                f"SELECT name, record FROM verification WHERE project = ? AND name IN ({marks})",
                (to_column(project), *map(to_column, some)),
            )
            found.update(self._parsed(rows))
        return found

    def _parsed(self, rows: Iterable[Sequence[object]]) -> dict[str, ProvenanceRecord]:
        try:
            found = {from_column(name): ProvenanceRecord.from_dict(json.loads(str(record))) for name, record in rows}
            return {name: replace(record, id=id_now(record.id)) for name, record in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedDatabaseError(
                "the record of a verification is damaged",
                where=self._database.path,
                expected="a record as this program writes it",
                found=str(error),
                fix="it was left as it is: move the catalog away, and the next run makes its rows again",
            ) from None
