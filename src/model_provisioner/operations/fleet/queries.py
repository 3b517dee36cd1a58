"""Questions to the fleet's database, in the process of its own: about its hosts, and about their models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from model_provisioner.operations.fleet import schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.operations.fleet.database import Connection

MOST = 10_000
"""How many rows are answered."""

_BEGIN = "BEGIN READ ONLY; SET LOCAL statement_timeout = %(milliseconds)s; SET LOCAL datestyle = ISO"
_SILENT = "(%(silent)s::float8 IS NULL OR published_at < now() - make_interval(secs => %(silent)s::float8))"
_AGE = "extract(epoch FROM now() - published_at)::bigint AS silent_seconds"
_HOSTS = f"""
SELECT h.*, {_AGE}, coalesce(m.models, 0) AS models, coalesce(m.failed, 0) AS failed,
  least(coalesce(m.size_bytes, 0), 9223372036854775807)::bigint AS size_bytes
FROM fleet.hosts h LEFT JOIN (
  SELECT catalog, count(*) AS models, count(*) FILTER (WHERE state = 'Failed') AS failed, sum(size_bytes) AS size_bytes
  FROM fleet.models GROUP BY catalog) m USING (catalog)
WHERE {_SILENT} ORDER BY host, login, catalog LIMIT %(most)s
"""
_MODELS = f"""
SELECT m.*, {_AGE}, array_to_string(l.digests, ' or ') AS expected
FROM fleet.models m LEFT JOIN (
  SELECT id, array_agg(DISTINCT digest) AS digests FROM unnest(%(ids)s::text[], %(digests)s::text[]) AS each (id, digest)
  GROUP BY id) l USING (id)
WHERE {_SILENT}
  AND (%(digest)s::text IS NULL OR m.digest = %(digest)s)
  AND (%(state)s::text IS NULL OR m.state = %(state)s)
  AND (NOT %(differs)s OR (l.digests IS NOT NULL AND coalesce(m.digest <> ALL (l.digests), true)))
ORDER BY host, login, project, name LIMIT %(most)s
"""


def answer(connection: Connection, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows that are asked for, each a mapping, and whether there are more. Raises `FleetError`."""
    schema.check_readable(connection, asked["shown"])
    connection.execute(_BEGIN, {"milliseconds": max(1, int(asked["seconds"] * 1000))})
    cursor = connection.execute(_HOSTS if asked["job"] == "hosts" else _MODELS, {**asked, "most": MOST + 1})
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]
    return {"rows": rows[:MOST], "more": len(rows) > MOST}


def _plain(value: object) -> object:
    """Return a value as our documents have it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return value if value is None or isinstance(value, int | str) else str(value)
