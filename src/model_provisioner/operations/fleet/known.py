"""What the database knows of a catalog; where nothing moved, it is only told that the host is alive. Each is one trip."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from model_provisioner.operations.fleet import schema
from model_provisioner.records.catalog.publications import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from model_provisioner.operations.fleet.database import Connection

_IS_USABLE = "number >= %(ours)s AND writable_from <= %(ours)s"
_SKEW = "%(time)s - extract(epoch FROM now())"
_ALIVE = f"""
SET LOCAL synchronous_commit = off;
UPDATE fleet.catalog SET host = %(host)s, login = %(login)s, version = %(version)s, published_at = now(),
  clock_skew_seconds = {_SKEW}
  WHERE catalog = %(catalog)s AND publication = %(token)s AND EXISTS (SELECT FROM fleet.version WHERE {_IS_USABLE})
  RETURNING clock_skew_seconds
"""
"""A sign of life that a crash of the database takes away comes again with the next publication, so nobody waits until it is on
the disk."""
_KNOWN = f"""
SELECT {_IS_USABLE}, publication, ({_SKEW})::bigint,
  ARRAY(SELECT project::text FROM fleet.project WHERE catalog = %(catalog)s ORDER BY project),
  ARRAY(SELECT change FROM fleet.project WHERE catalog = %(catalog)s ORDER BY project)
FROM fleet.version LEFT JOIN fleet.catalog ON catalog = %(catalog)s
"""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the database knows of a catalog."""

    token: UUID | None
    """Of its last publication; None where it was never published."""
    moved: tuple[str, ...]
    """The projects that are older there than here, or not there."""
    has_foreign: bool
    """Whether projects are there that another copy of the catalog published, before this one took over."""
    skew: int
    """By how many seconds the clock here is ahead of the database's."""


def tell_alive(connection: Connection, host: Mapping[str, Any], token: UUID) -> int | None:
    """Tell that a host is alive that has nothing to send if `token` is the last; return by how many seconds its clock is ahead.

    `host` is the row of the catalog. None, and nothing is told, where the token is another or this program may not write.
    """
    try:
        cursor = connection.execute(_ALIVE, _values(host, token=token))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return None
    cursor.nextset()
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def read_known(connection: Connection, host: Mapping[str, Any], changes: Mapping[str, int], shown: str) -> Known:
    """Ask what the database knows of a catalog; make or migrate the schema first where that is needed.

    `host` is the row of the catalog, `changes` has the number of each project. Raises `FleetError`.
    """
    try:
        usable, known = _asked(connection, host, changes)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        usable = False
    if not usable:
        schema.ensure(connection, shown)
        _, known = _asked(connection, host, changes)
    return known


def _asked(connection: Connection, host: Mapping[str, Any], changes: Mapping[str, int]) -> tuple[bool, Known]:
    """Return whether the schema is one that this program may write to, and what is known."""
    row = connection.execute(_KNOWN, _values(host)).fetchone()
    usable, token, skew, projects, numbers = row or (False, None, 0, (), ())
    there = dict(zip(projects, numbers, strict=True))
    here = {as_text(project): project for project in changes}
    moved = tuple(
        project for text, project in here.items() if (number := there.get(text)) is None or number < changes[project]
    )
    foreign = any(number is None and text not in here for text, number in there.items())
    return usable, Known(token=token, moved=moved, has_foreign=foreign, skew=skew)


def _values(host: Mapping[str, Any], **more: object) -> dict[str, Any]:
    return {**host, **more, "ours": len(schema.MIGRATIONS), "time": time.time()}
