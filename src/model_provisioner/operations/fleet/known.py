"""What the database knows of a catalog, asked for in one trip. Where nothing moved, that trip is the whole publication."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from model_provisioner.operations.fleet import schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from model_provisioner.operations.fleet.database import Connection

_KNOWN = """
SET LOCAL synchronous_commit = off;
WITH
  here AS (SELECT key::text AS project, value::bigint AS change FROM json_each_text(%(changes)s::json)),
  moved AS (
    SELECT here.project FROM here
    LEFT JOIN fleet.project there ON (there.catalog, there.project) = (%(catalog)s, here.project)
    WHERE there.change IS NULL OR there.change < here.change),
  foreign_rows AS (SELECT FROM fleet.project WHERE catalog = %(catalog)s AND change IS NULL),
  alive AS (
    UPDATE fleet.catalog SET host = %(host)s, login = %(login)s, version = %(version)s, published_at = now(),
      clock_skew_seconds = round(%(time)s - extract(epoch FROM clock_timestamp()))
    WHERE catalog = %(catalog)s AND publication = %(last)s
      AND NOT EXISTS (SELECT FROM moved) AND NOT EXISTS (SELECT FROM foreign_rows)
      AND EXISTS (SELECT FROM fleet.version WHERE number >= %(ours)s AND writable_from <= %(ours)s)
    RETURNING 1)
SELECT number >= %(ours)s AND writable_from <= %(ours)s,
  (SELECT publication FROM fleet.catalog WHERE catalog = %(catalog)s),
  ARRAY(SELECT project FROM moved), EXISTS (SELECT FROM foreign_rows), EXISTS (SELECT FROM alive),
  round(%(time)s - extract(epoch FROM clock_timestamp()))::bigint
FROM fleet.version
"""
"""Writes the row of the host if nothing moved and the last publication was the last of ours. A sign of life that a crash of the
database takes away comes again with the next publication, so nobody waits until it is on the disk."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the database knows of a catalog."""

    token: UUID | None
    """Of its last publication; None where it was never published."""
    moved: frozenset[str]
    """The projects that are older there than here, or not there, as they are called there."""
    has_foreign: bool
    """Whether projects are there that another copy of the catalog published, before this one took over."""
    is_told: bool
    """Whether the host is known to be alive now, since nothing else was to be told."""
    skew: int
    """By how many seconds the clock here is ahead of the database's."""


def read_known(
    connection: Connection, host: Mapping[str, Any], changes: Mapping[str, int], last: UUID | None, shown: str
) -> Known:
    """Ask what the database knows of a catalog; make or migrate the schema first where that is needed.

    `host` is the row of the catalog, `changes` has the number of each project, `last` is the last token that it drew. Raises
    `FleetError`.
    """
    values = {**host, "changes": json.dumps(changes), "last": last, "ours": len(schema.MIGRATIONS)}
    try:
        usable, known = _asked(connection, values)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        usable = False
    if not usable:
        schema.ensure(connection, shown)
        _, known = _asked(connection, values)
    return known


def _asked(connection: Connection, values: Mapping[str, Any]) -> tuple[bool, Known]:
    """Return whether the schema is one that this program may write to, and what is known."""
    cursor = connection.execute(_KNOWN, {**values, "time": time.time()})
    cursor.nextset()
    usable, token, moved, foreign, told, skew = cursor.fetchone() or (False, None, (), False, False, 0)
    return usable, Known(token=token, moved=frozenset(moved), has_foreign=foreign, is_told=told, skew=skew)
