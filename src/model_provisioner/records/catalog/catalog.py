"""The catalog: one row for each entry of each project and each model that the API registered, with its lifecycle.

It is state, not cache: deleting it loses history, but no model and no promise. Its format is described in
`docs/reference/catalog.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from model_provisioner.fs.sqlite import (
    DamagedDatabaseError,
    Database,
    ReadOnlyDatabase,
    from_column,
    in_chunks,
    to_column,
)
from model_provisioner.headers.metadata import Metadata, from_json, to_json
from model_provisioner.invocation import as_called
from model_provisioner.records.catalog.database import catalog_file
from model_provisioner.records.lifecycle import By, Lifecycle, refusal
from model_provisioner.references.reference import id_now

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from model_provisioner.errors import InvalidMoveError

Outcome = Literal["pass", "warn", "fail", "error"]

READER = 3
"""The version of our header readers, raised when they return more than before, so that headers are read again."""

MOVES_KEPT = 50
"""How many of a model's last moves are kept."""
REASON_KEPT = 200
"""How many characters of the reason for a move are kept."""

NO_PROJECT = ""
"""The project of models that the API registered."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row. Times are ISO 8601 in UTC; what is not known is None."""

    project: str
    name: str
    id: str
    lifecycle: Lifecycle
    path: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    digest: str | None = None
    expected: str | None = None
    strict: bool = True
    size: int | None = None
    engine: str | None = None
    config: str | None = None
    """The configuration file of the entry."""
    handoff: str | None = None
    metadata: Metadata | None = None
    """What the headers of the model's files say."""
    source: str | None = None
    revision: str | None = None
    registered_at: str | None = None
    verified_at: str | None = None
    used_at: str | None = None
    audited_at: str | None = None
    """When SHA-256 of every byte was last computed. `put` keeps the old time if this is None and the digest is the same."""
    corrupt: str | None = None
    """The digest of the bytes that are there now, if not those of `digest`, though nobody is known to have changed them."""

    def as_json(self) -> dict[str, Any]:
        """Return the row as documents have it."""
        words = {"lifecycle": "state", "size": "size_bytes"}
        metadata = None if self.metadata is None else to_json(self.metadata)
        fields = {words.get(name, name): value for name, value in vars(self).items()}
        return {**fields, "metadata": metadata, "project": self.project or None}


@dataclass(frozen=True)
class RetentionRow:
    """The columns of a row that tell who may still need a file of the store."""

    path: str | None
    config: str | None
    handoff: str | None
    used_at: str | None


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A move into a state: when, and why, in a few words. Times are those of the clock, which may go back."""

    time: str
    lifecycle: Lifecycle
    reason: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return the move as documents have it."""
        return {"time": self.time, "state": self.lifecycle, "reason": self.reason}


_NAMES = tuple(Model.__dataclass_fields__)
_SELECT = f"SELECT {', '.join(_NAMES)} FROM model"
_KEPT = ("registered_at", "audited_at")
_PUT = f"""
INSERT INTO model ({", ".join(_NAMES)}, history) VALUES ({", ".join("?" * (len(_NAMES) + 1))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in (*_NAMES[2:], "history") if name not in _KEPT)},
registered_at = coalesce(registered_at, excluded.registered_at),
audited_at = coalesce(excluded.audited_at, CASE WHEN digest = excluded.digest THEN audited_at END)
"""


def now() -> str:
    """Return the time, as rows have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Catalog:
    """The catalog in the state folder `state`. A `reader` creates and changes nothing."""

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        self.database = catalog_file(state, database)
        """Also of the records that go with the rows: what was verified, and what was fetched."""
        self.path = self.database.path
        self._rows: dict[tuple[str, str], Model | None] = {}
        """The rows that were loaded, or put since, by project and name."""

    @classmethod
    def reader(cls, state: str) -> Catalog:
        """Return the catalog, read-only."""
        return cls(state, database=ReadOnlyDatabase)

    def get(self, project: str, name: str) -> Model | None:
        """Return the row of an entry."""
        if (project, name) in self._rows:
            return self._rows[project, name]
        rows = self._select("WHERE project = ? AND name = ?", (to_column(project), to_column(name)))
        return rows[0] if rows else None

    def load(self, project: str, names: Iterable[str]) -> None:
        """Read the rows of many entries at once, as the database has them now."""
        for some, marks in in_chunks(names):
            self._rows.update(dict.fromkeys((project, name) for name in some))
            found = self._select(f"WHERE project = ? AND name IN ({marks})", (to_column(project), *some))
            self._rows.update(((project, row.name), row) for row in found)

    def of_project(self, project: str) -> list[Model]:
        """Return the rows of one project, by name."""
        return self._select("WHERE project = ? ORDER BY name", (to_column(project),))

    def handoffs(self, project: str, config: str) -> dict[str, str | None]:
        """Return the handoff path of each entry of one configuration of a project, by name."""
        rows = self.database.query(
            "SELECT name, handoff FROM model WHERE project = ? AND config = ?", (to_column(project), to_column(config))
        )
        return {from_column(name): None if handoff is None else from_column(handoff) for name, handoff in rows}

    def retention_rows(self) -> list[RetentionRow]:
        """Return, of every row, where the model is, who asked for it and where it was handed off."""
        rows = self.database.query("SELECT path, config, handoff, used_at FROM model")
        return [RetentionRow(*(None if value is None else from_column(value) for value in row)) for row in rows]

    def all(self) -> list[Model]:
        """Return every row, sorted by project and name."""
        return self._select("ORDER BY project, name")

    def by_id(self, model_id: str) -> list[Model]:
        """Return the rows of every entry whose model has this id, in whichever form the row or the caller has it."""
        wanted = id_now(model_id)
        rows = self._select("WHERE id = ? OR id GLOB 'https:*' ORDER BY project, name", (to_column(wanted),))
        return [row for row in rows if row.id == wanted]

    def retired(self, project: str) -> set[str]:
        """Return the retired entries of a project, as the database has them now."""
        retired = "SELECT name FROM model WHERE project = ? AND lifecycle = 'Retired'"
        return {from_column(name) for (name,) in self.database.query(retired, (to_column(project),))}

    def lifecycles(self, project: str) -> dict[str, str]:
        """Return the state of each entry of a project, as the database has it now."""
        rows = self.database.query("SELECT name, lifecycle FROM model WHERE project = ?", (to_column(project),))
        return {from_column(name): str(lifecycle) for name, lifecycle in rows}

    def history(self, project: str, name: str) -> list[Transition]:
        """Return the last `MOVES_KEPT` moves of an entry, in the order in which they happened."""
        rows = self.database.query(
            "SELECT history FROM model WHERE project = ? AND name = ?", (to_column(project), to_column(name))
        )
        return _moves(rows[0][0]) if rows else []

    def histories(self, project: str) -> dict[str, list[Transition]]:
        """Return the `history` of each entry of a project, by name."""
        rows = self.database.query("SELECT name, history FROM model WHERE project = ?", (to_column(project),))
        return {from_column(name): _moves(history) for name, history in rows}

    def put(self, *models: Model, by: By = "run") -> dict[str, InvalidMoveError]:
        """Write rows, in one transaction; return, by name, the errors of those that may not be written.

        States change nowhere else. Each move, from the state that the database has at that moment, must be in the table of
        `lifecycle`, and is added to the history. The time of the first registration stays.
        """
        refused: dict[str, InvalidMoveError] = {}
        with self.database.transaction() as connection:
            stored = _stored(connection, models)
            values = []
            time = now()
            for model in models:
                old, history = stored.get((model.project, model.name), (None, ""))
                if (error := refusal(model.name, (old, model.lifecycle), by, self.path)) is not None:
                    refused[model.name] = error
                    continue
                values.append((*_values(model), history if old == model.lifecycle else _noted(history, model, time)))
            connection.executemany(_PUT, values)
        for model in models:
            if model.name in refused:
                self._rows.pop((model.project, model.name), None)
            elif (model.project, model.name) in self._rows:
                self._rows[model.project, model.name] = model
        return refused

    def note_audit(self, project: str, name: str) -> None:
        """Record that an entry was audited now, whatever the result: the next audit begins with others."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE model SET audited_at = ? WHERE project = ? AND name = ?",
                (now(), to_column(project), to_column(name)),
            )
        self._rows.pop((project, name), None)

    def mark_corrupt(self, path: str, digest: str, found: str) -> None:
        """Record the digest `found` in every row whose model at `path` was verified as `digest`.

        The next run of each project sees that, and changes the state of its own row.
        """
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE model SET corrupt = ? WHERE path = ? AND digest = ?", (found, to_column(path), digest)
            )
        self._rows.clear()

    def remove(self, project: str, names: Sequence[str]) -> None:
        """Remove the rows of entries that a project no longer has."""
        with self.database.transaction() as connection:
            connection.executemany(
                "DELETE FROM model WHERE project = ? AND name = ?",
                [(to_column(project), to_column(name)) for name in names],
            )
        for name in names:
            self._rows.pop((project, name), None)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _select(self, clause: str, values: Sequence[object] = ()) -> list[Model]:
        rows = self.database.query(f"{_SELECT} {clause}", values)
        try:
            return [_model(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedDatabaseError(
                "a row of the catalog is damaged",
                where=self.path,
                expected="a row as this program writes it",
                found=str(error),
                fix="it was left as it is: move the catalog away, and the next run makes its rows again",
            ) from None


def _stored(connection: sqlite3.Connection, models: Sequence[Model]) -> dict[tuple[str, str], tuple[Lifecycle, str]]:
    """Return state and history of the rows that exist, by project and name."""
    found: dict[tuple[str, str], tuple[Lifecycle, str]] = {}
    for project in dict.fromkeys(model.project for model in models):
        for some, marks in in_chunks(model.name for model in models if model.project == project):
            rows = connection.execute(
                f"SELECT name, lifecycle, history FROM model WHERE project = ? AND name IN ({marks})",
                (to_column(project), *map(to_column, some)),
            )
            found.update(((project, from_column(name)), (state, history)) for name, state, history in rows)
    return found


def _noted(history: str, model: Model, time: str) -> str:
    """Return `history` with the move to the state of `model` as its last line."""
    if (more := history.count("\n") - MOVES_KEPT + 1) > 0:
        history = history.split("\n", more)[-1]
    reason = "" if model.reason is None else f" {model.reason.partition(chr(10))[0][:REASON_KEPT]}"
    return f"{history}{time} {model.lifecycle}{reason}\n"


def _moves(history: object) -> list[Transition]:
    return [_moved(line) for line in str(history).split("\n") if line]


def _moved(line: str) -> Transition:
    time, _, rest = line.partition(" ")
    lifecycle, _, reason = rest.partition(" ")
    return Transition(time=time, lifecycle=cast("Lifecycle", lifecycle), reason=reason or None)


def _values(model: Model) -> tuple[object, ...]:
    fields = dict(vars(model))
    if model.metadata is not None:
        fields["metadata"] = json.dumps({"reader": READER, **to_json(model.metadata)}, sort_keys=True)
    return tuple(to_column(value) if isinstance(value, str) else value for value in map(fields.get, _NAMES))


def _model(row: tuple[Any, ...]) -> Model:
    values = (from_column(value) if isinstance(value, bytes) else value for value in row)
    fields: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    metadata = json.loads(fields["metadata"] or "{}")
    # Headers that an older reader read are read again.
    fields["metadata"] = from_json(metadata) if metadata.pop("reader", None) == READER else None
    fields["id"] = id_now(fields["id"])
    fields["reason"] = fields["reason"] and as_called(fields["reason"])
    return Model(**{**fields, "strict": bool(fields["strict"])})
