"""The catalog: one row for each entry of each project, and for each model that the API registered, with its life.

State, not cache: deleting it loses history, no model and no promise. Its format is described in
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
from model_provisioner.headers.metadata import Facts, from_json, to_json
from model_provisioner.records.catalog_file import catalog_file
from model_provisioner.records.lifecycle import By, Lifecycle, refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from model_provisioner.errors import InvalidMoveError

Outcome = Literal["pass", "warn", "fail", "error"]

READER = 3
"""The version of our header readers: raised when they tell more than before, so that headers are read again."""

MOVES_KEPT = 50
"""How many of its last moves are kept of a model."""
REASON_KEPT = 200
"""How many characters are kept of the reason for one."""

NO_PROJECT = ""
"""The project of what the API registered."""


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
    """The configuration file that the entry stands in."""
    handoff: str | None = None
    metadata: Facts | None = None
    """What the header told."""
    source: str | None = None
    revision: str | None = None
    registered_at: str | None = None
    verified_at: str | None = None
    used_at: str | None = None
    audited_at: str | None = None
    """When SHA-256 of every byte was taken last. A row without it leaves that of the same digest in the catalog."""
    corrupt: str | None = None
    """The digest of the bytes that were found in the place of those of `digest`, which nobody is known to have changed."""

    def as_json(self) -> dict[str, Any]:
        """Return the row as `model-list --json` shows it."""
        fields = {name: getattr(self, name) for name in _NAMES}
        fields["metadata"] = None if self.metadata is None else to_json(self.metadata)
        fields["project"] = self.project or None
        return fields


@dataclass(frozen=True)
class Place:
    """Of a row, what says who may still need a file."""

    path: str | None
    config: str | None
    handoff: str | None
    used_at: str | None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A state that a model came into, when, and why, in a few words. Times are those of the clock, which may go back."""

    time: str
    lifecycle: Lifecycle
    reason: str | None = None


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
    """Return the time for a row."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Catalog:
    """The catalog in the state folder `state`. A `reader` of it makes and changes nothing."""

    def __init__(self, state: str, *, database: type[Database] = Database) -> None:
        self._database = catalog_file(state, database)
        self.path = self._database.path
        self._rows: dict[tuple[str, str], Model | None] = {}
        """What `load` found of entries, by project and name, and what was put since."""

    @classmethod
    def reader(cls, state: str) -> Catalog:
        """Return the catalog to be looked at only."""
        return cls(state, database=ReadOnlyDatabase)

    def get(self, project: str, name: str) -> Model | None:
        """Return the row of an entry."""
        if (project, name) in self._rows:
            return self._rows[project, name]
        rows = self._select("WHERE project = ? AND name = ?", (to_column(project), to_column(name)))
        return rows[0] if rows else None

    def load(self, project: str, names: Iterable[str]) -> None:
        """Read the rows of many entries at once, so that none of them is asked for on its own."""
        for some, marks in in_chunks(names):
            self._rows.update(dict.fromkeys((project, name) for name in some))
            found = self._select(f"WHERE project = ? AND name IN ({marks})", (to_column(project), *some))
            self._rows.update(((project, row.name), row) for row in found)

    def of_project(self, project: str) -> list[Model]:
        """Return the rows of one project, by name."""
        return self._select("WHERE project = ? ORDER BY name", (to_column(project),))

    def handoffs(self, project: str, config: str) -> dict[str, str | None]:
        """Return the entries of one configuration of a project, and where each was handed off."""
        rows = self._database.query(
            "SELECT name, handoff FROM model WHERE project = ? AND config = ?", (to_column(project), to_column(config))
        )
        return {from_column(name): None if handoff is None else from_column(handoff) for name, handoff in rows}

    def places(self) -> list[Place]:
        """Return of every row of the machine where the model lies, is asked for and is handed off."""
        rows = self._database.query("SELECT path, config, handoff, used_at FROM model")
        return [Place(*(None if value is None else from_column(value) for value in row)) for row in rows]

    def all(self) -> list[Model]:
        """Return every row of the machine, by project and name."""
        return self._select("ORDER BY project, name")

    def by_id(self, model_id: str) -> list[Model]:
        """Return the rows of every entry whose model has this id."""
        return self._select("WHERE id = ? ORDER BY project, name", (to_column(model_id),))

    def retired(self, project: str) -> set[str]:
        """Return the entries of a project that are retired, as the file has them now."""
        rows = self._database.query(
            "SELECT name FROM model WHERE project = ? AND lifecycle = 'Retired'", (to_column(project),)
        )
        return {from_column(row[0]) for row in rows}

    def history(self, project: str, name: str) -> list[Moved]:
        """Return the states of an entry in the order in which it came into them, the last `MOVES_KEPT` of them."""
        rows = self._database.query(
            "SELECT history FROM model WHERE project = ? AND name = ?", (to_column(project), to_column(name))
        )
        return [_moved(line) for line in str(rows[0][0]).split("\n") if line] if rows else []

    def put(self, *models: Model, by: By = "run") -> dict[str, InvalidMoveError]:
        """Write rows, in one transaction; return, by name, what kept some of them from being written.

        This is the one place where the states of models change: each move is held to the table of `lifecycle`, against the
        state that the file has at that moment, and noted in the history. The time an entry was first registered stays.
        """
        refused: dict[str, InvalidMoveError] = {}
        with self._database.transaction() as connection:
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
        """Note that an entry was audited now, whatever came of it: the next audit begins with others."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE model SET audited_at = ? WHERE project = ? AND name = ?",
                (now(), to_column(project), to_column(name)),
            )
        self._rows.pop((project, name), None)

    def mark_corrupt(self, path: str, digest: str, found: str) -> None:
        """Note of every row of the model at `path` that was verified as `digest` that its bytes are `found` now.

        The next run of each project sees it; their states are theirs to change.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE model SET corrupt = ? WHERE path = ? AND digest = ?", (found, to_column(path), digest)
            )
        self._rows.clear()

    def remove(self, project: str, names: Sequence[str]) -> None:
        """Remove the rows of entries that a project no longer has."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM model WHERE project = ? AND name = ?",
                [(to_column(project), to_column(name)) for name in names],
            )
        for name in names:
            self._rows.pop((project, name), None)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _select(self, clause: str, values: Sequence[object] = ()) -> list[Model]:
        rows = self._database.query(f"{_SELECT} {clause}", values)
        try:
            return [_model(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedDatabaseError(
                "a row of the catalog is damaged",
                where=self.path,
                found=str(error),
                fix="it was left as it is: move the catalog away, and the next run makes its rows again",
            ) from None


def _stored(connection: sqlite3.Connection, models: Sequence[Model]) -> dict[tuple[str, str], tuple[Lifecycle, str]]:
    """Return state and history of the rows that there are, by project and name."""
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
    """Return a history with the state of `model` as its last line."""
    if (more := history.count("\n") - MOVES_KEPT + 1) > 0:
        history = history.split("\n", more)[-1]
    reason = "" if model.reason is None else f" {model.reason.partition(chr(10))[0][:REASON_KEPT]}"
    return f"{history}{time} {model.lifecycle}{reason}\n"


def _moved(line: str) -> Moved:
    time, _, rest = line.partition(" ")
    lifecycle, _, reason = rest.partition(" ")
    return Moved(time=time, lifecycle=cast("Lifecycle", lifecycle), reason=reason or None)


def _values(model: Model) -> tuple[object, ...]:
    values: list[object] = []
    for name in _NAMES:
        value = getattr(model, name)
        if name == "metadata":
            value = None if value is None else json.dumps({"reader": READER, **to_json(value)}, sort_keys=True)
        elif isinstance(value, bool):
            value = int(value)
        elif isinstance(value, str):
            value = to_column(value)
        values.append(value)
    return tuple(values)


def _model(row: tuple[Any, ...]) -> Model:
    fields: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    for name, value in fields.items():
        if isinstance(value, bytes):
            fields[name] = from_column(value)
    fields["strict"] = bool(fields["strict"])
    facts = json.loads(fields["metadata"] or "{}")
    # What an older reader saw of a header is read again, not guessed at.
    fields["metadata"] = from_json(facts) if facts.pop("reader", None) == READER else None
    return Model(**fields)
