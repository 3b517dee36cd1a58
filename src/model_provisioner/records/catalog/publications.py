"""What the catalog records of its publication to a fleet, and what of its rows is published.

A catalog has a UUID from its first publication on, and remembers the random token of each. Whoever finds a token in the
fleet's database that this catalog does not remember knows that another copy of the catalog published it.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.fs.sqlite import from_column, to_column
from model_provisioner.references.reference import id_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.fs.sqlite import Database

REMEMBERED = 1000
"""How many tokens are kept: the last ones."""
REASON = 200
"""How many characters of the first line of a reason are published."""
LONGEST = 1000
"""How many bytes of a path, a name or an id are published: two of them fit into a row of an index."""


@dataclass(frozen=True)
class Identity:
    """Whose publication it is."""

    catalog: uuid.UUID
    is_copy: bool
    """Whether it was drawn just now because the catalog came from another machine."""


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A row of the catalog as a fleet sees it: no path but the id of a local model, no credential, nothing that fingerprints
    are made of.
    """

    name: str
    id: str
    digest: str | None
    size_bytes: int | None
    state: str
    outcome: str | None
    reason: str | None
    """The first line of it."""
    verified_at: datetime | None
    audited_at: datetime | None


_COLUMNS = "name, id, digest, size, lifecycle, outcome, reason, verified_at, audited_at"


class Publications:
    """The publications that the catalog in `database` records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identify(self, machine: str, *, anew: bool = False, restored: bool = False) -> Identity:
        """Return whose publication it is. It is drawn for a catalog that has none or came from another machine, and `anew`.

        A catalog that was `restored` keeps it on any machine. `machine` is empty where it can't be told. Raises `StorageError`.
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT uuid, machine FROM identity").fetchone()
            is_unlike = row is not None and _is_unlike(machine, row[1])
            is_copy = is_unlike and bool(row[1]) and not restored
            if row is not None and not is_copy and not anew:
                if is_unlike:
                    connection.execute("UPDATE identity SET machine = ?", (machine,))
                return Identity(uuid.UUID(row[0]), is_copy=False)
            drawn = uuid.uuid4()
            connection.execute("DELETE FROM identity")
            connection.execute("DELETE FROM publication")
            connection.execute("INSERT INTO identity VALUES (?, ?)", (str(drawn), machine))
        return Identity(drawn, is_copy=is_copy)

    def draw(self, changes: Mapping[str, int] | None = None) -> uuid.UUID:
        """Return the token of a publication that begins: it is remembered before anybody else can know it.

        A database that has it has these `changes`, those of all projects; None where that can't be said.
        """
        drawn = uuid.uuid4()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO publication (token, changes) VALUES (?, ?)",
                (str(drawn), None if changes is None else _digest(changes)),
            )
            connection.execute(
                "DELETE FROM publication WHERE number <= (SELECT max(number) FROM publication) - ?", (REMEMBERED,)
            )
        return drawn

    def unmoved(self, machine: str) -> tuple[uuid.UUID, uuid.UUID] | None:
        """Return the UUID and the last token of a catalog of which a database that has that token has all; else None."""
        rows = self._database.query(
            "SELECT uuid, machine, token, changes FROM identity, publication ORDER BY number DESC LIMIT 1"
        )
        for catalog, drawn_on, token, changes in rows:
            if not _is_unlike(machine, drawn_on) and changes == _digest(self.changes()):
                return uuid.UUID(str(catalog)), uuid.UUID(str(token))
        return None

    def remembers(self, token: uuid.UUID) -> bool:
        """Tell whether a publication with this token was ours."""
        return bool(self._database.query("SELECT 1 FROM publication WHERE token = ?", (str(token),)))

    def changes(self) -> dict[str, int]:
        """Return the number of each project, which every change of its rows increases; an emptied project has one too."""
        rows = self._database.query("SELECT project, number FROM change")
        return {from_column(project): int(str(number)) for project, number in rows}

    def models(self, project: str) -> tuple[int, list[PublishedModel]]:
        """Return the number of a project and its rows, both of one moment."""
        rows = self._database.query(
            f"SELECT number, {_COLUMNS} FROM change LEFT JOIN model USING (project) WHERE project = ?",
            (to_column(project),),
        )
        number = int(str(rows[0][0])) if rows else 0
        found = [_published(row[1:]) for row in rows if row[1] is not None]
        return number, list({each.name: each for each in found}.values())


def _is_unlike(machine: str, other: object) -> bool:
    """Tell whether a machine is another one; one that can't be told is not."""
    return machine not in ("", other)


def _digest(changes: Mapping[str, int]) -> str:
    """Return what no other changes have."""
    return hashlib.sha256(json.dumps(sorted(changes.items())).encode()).hexdigest()


def _published(row: tuple[object, ...]) -> PublishedModel:
    name, model_id, digest, size, state, outcome, reason, verified_at, audited_at = row
    first = None if reason is None else from_column(reason).partition("\n")[0][:REASON]
    return PublishedModel(
        name=as_text(from_column(name)),
        id=as_text(id_now(from_column(model_id))),
        digest=None if digest is None else from_column(digest),
        size_bytes=None if size is None else int(str(size)),
        state=str(state),
        outcome=None if outcome is None else str(outcome),
        reason=None if first is None else _escaped(first),
        verified_at=_time(verified_at),
        audited_at=_time(audited_at),
    )


def as_text(text: str) -> str:
    """Return a name as any database can hold it: in UTF-8, without NUL, and no longer than an index takes.

    Two that differ are held as two that differ: what is cut or escaped ends in a hash.
    """
    held = _escaped(text)
    if held == text and len(held.encode()) <= LONGEST:
        return text
    end = f"…{hashlib.sha256(os.fsencode(text)).hexdigest()[:32]}"
    return held.encode()[: LONGEST - len(end.encode())].decode("utf-8", "ignore") + end


def _escaped(text: str) -> str:
    """Return a text in UTF-8, without NUL."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _time(value: object) -> datetime | None:
    """Return a time of the catalog; None for none, and for what is no time."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
