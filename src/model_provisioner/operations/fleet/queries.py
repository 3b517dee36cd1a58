"""Questions to the fleet's database, in the process of its own: about its hosts, and about their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model_provisioner.operations.fleet import schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.operations.fleet.database import Connection

MOST = 10_000
"""How many rows are answered."""

_SILENT = "(%(silent)s::float8 IS NULL OR published_at < now() - make_interval(secs => %(silent)s::float8))"
_AGE = "extract(epoch FROM now() - published_at)::bigint AS silent_seconds"
_HOSTS = f"""
SELECT h.*, {_AGE}, coalesce(m.models, 0) AS models, coalesce(m.failed, 0) AS failed,
  coalesce(m.size_bytes, 0)::bigint AS size_bytes
FROM fleet.hosts h LEFT JOIN (
  SELECT catalog, count(*) AS models, count(*) FILTER (WHERE state = 'Failed') AS failed, sum(size_bytes) AS size_bytes
  FROM fleet.models GROUP BY catalog) m USING (catalog)
WHERE {_SILENT} ORDER BY host, login, catalog LIMIT %(most)s
"""
_MODELS = f"""
SELECT m.*, {_AGE}, l.digest AS expected
FROM fleet.models m LEFT JOIN unnest(%(ids)s::text[], %(digests)s::text[]) AS l (id, digest) USING (id)
WHERE {_SILENT}
  AND (%(digest)s::text IS NULL OR m.digest = %(digest)s)
  AND (%(state)s::text IS NULL OR m.state = %(state)s)
  AND (NOT %(differs)s OR (l.digest IS NOT NULL AND m.digest IS DISTINCT FROM l.digest))
ORDER BY host, login, project, name LIMIT %(most)s
"""


def answer(connection: Connection, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows that are asked for, each a mapping, and whether there are more. Raises `FleetError`."""
    schema.check_readable(connection, asked["shown"])
    connection.execute(f"BEGIN READ ONLY; SET LOCAL statement_timeout = {max(1, int(asked['seconds'] * 1000))}")
    cursor = connection.execute(_HOSTS if asked["job"] == "hosts" else _MODELS, {**asked, "most": MOST + 1})
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]
    return {"rows": rows[:MOST], "more": len(rows) > MOST}


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    return value if value is None or isinstance(value, int | str) else str(value)
