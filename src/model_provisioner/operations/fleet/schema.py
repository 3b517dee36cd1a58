"""The schema `fleet`: made and migrated by the first that may, and described in `docs/reference/fleet.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from model_provisioner.errors import FleetError
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.operations.fleet.database import Connection

_LOCK = 0x6D706361
"""Of PostgreSQL's advisory locks, the one that who makes the schema holds."""


@dataclass(frozen=True)
class Migration:
    """What brings the schema to the next version."""

    sql: str
    writable_from: int
    """The oldest version whose programs may still publish afterwards: hosts are not all upgraded in one night."""


# What a row may hold is checked here: whoever may write could otherwise end every question of those who read.
_VERSION_1 = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'fleet') THEN CREATE SCHEMA fleet; END IF;
END $$;
CREATE TABLE fleet.version (number integer NOT NULL, writable_from integer NOT NULL);
CREATE TABLE fleet.catalog (
  catalog uuid PRIMARY KEY, role name NOT NULL DEFAULT current_user, publication uuid NOT NULL,
  host varchar(1000) NOT NULL, login varchar(1000) NOT NULL, version varchar(100) NOT NULL,
  clock_skew_seconds bigint NOT NULL,
  first_published_at timestamptz NOT NULL DEFAULT now(), published_at timestamptz NOT NULL DEFAULT now(),
  CHECK (greatest(octet_length(host), octet_length(login)) <= 1000),
  CHECK (first_published_at BETWEEN '0002-01-01' AND '9999-01-01'), CHECK (published_at BETWEEN '0002-01-01' AND '9999-01-01')
);
CREATE INDEX catalog_role ON fleet.catalog (role);
CREATE TABLE fleet.project (
  catalog uuid NOT NULL REFERENCES fleet.catalog ON DELETE CASCADE, project varchar(1000) NOT NULL, change bigint,
  PRIMARY KEY (catalog, project), CHECK (octet_length(project) <= 1000)
);
CREATE TABLE fleet.model (
  catalog uuid NOT NULL, project varchar(1000) NOT NULL, name varchar(1000) NOT NULL, id varchar(1000) NOT NULL,
  digest varchar(100) CHECK (digest ~ '^(sha256|dirhash):[0-9a-f]{64}$'), size_bytes bigint CHECK (size_bytes >= 0),
  state varchar(20) NOT NULL CHECK (state IN ('Pending', 'Active', 'Failed', 'Retired')),
  outcome varchar(20) CHECK (outcome IN ('pass', 'warn', 'fail', 'error')), reason varchar(1000),
  verified_at timestamptz CHECK (verified_at BETWEEN '0002-01-01' AND '9999-01-01'),
  audited_at timestamptz CHECK (audited_at BETWEEN '0002-01-01' AND '9999-01-01'),
  PRIMARY KEY (catalog, project, name), FOREIGN KEY (catalog, project) REFERENCES fleet.project ON DELETE CASCADE,
  CHECK (greatest(octet_length(name), octet_length(id), octet_length(reason)) <= 1000)
);
CREATE INDEX model_digest ON fleet.model (digest);
CREATE INDEX model_not_active ON fleet.model (state) WHERE state <> 'Active';

ALTER TABLE fleet.catalog ENABLE ROW LEVEL SECURITY;
ALTER TABLE fleet.project ENABLE ROW LEVEL SECURITY;
ALTER TABLE fleet.model ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON fleet.catalog USING (role = current_user);
CREATE POLICY own ON fleet.project USING (catalog IN (SELECT catalog FROM fleet.catalog));
CREATE POLICY own ON fleet.model USING (catalog IN (SELECT catalog FROM fleet.catalog));

CREATE VIEW fleet.hosts AS
  SELECT catalog, host, login, role, version, first_published_at, published_at, clock_skew_seconds FROM fleet.catalog;
CREATE VIEW fleet.models AS
  SELECT catalog, host, login, nullif(project, '') AS project, name, id, digest, size_bytes, state, outcome, reason,
    verified_at, audited_at, published_at
  FROM fleet.model JOIN fleet.catalog USING (catalog);

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'fleet_writer') THEN
    GRANT USAGE ON SCHEMA fleet TO fleet_writer;
    GRANT SELECT ON fleet.version TO fleet_writer;
    GRANT SELECT, INSERT, UPDATE, DELETE ON fleet.catalog, fleet.project, fleet.model TO fleet_writer;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'fleet_reader') THEN
    GRANT USAGE ON SCHEMA fleet TO fleet_reader;
    GRANT SELECT ON fleet.version, fleet.hosts, fleet.models TO fleet_reader;
  END IF;
END $$
"""

# The server builds a state for each of {64} anew with every row: with all else that a row costs, that took a third of the time.
_VERSION_2 = """
ALTER TABLE fleet.model DROP CONSTRAINT model_digest_check, ADD CONSTRAINT model_digest_check
  CHECK (digest ~ '^(sha256|dirhash):[0-9a-f]*$' AND length(split_part(digest, ':', 2)) = 64)
"""

MIGRATIONS = (Migration(_VERSION_1, writable_from=1), Migration(_VERSION_2, writable_from=1))


def ensure(connection: Connection, shown: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema to the version of this program, if it is older or not there.

    Raises `FleetError` where this role may not, naming who may, and for a schema that is too new.
    """
    if _version(connection, shown, len(migrations)) >= len(migrations):
        return
    try:
        with connection.transaction():
            # Of the transaction, not of the session: a pooler may give the next one another server.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            there = _version(connection, shown, len(migrations))  # as whoever held the lock before left it
            if there < len(migrations):
                _migrate(connection, shown, there, migrations)
    except psycopg.errors.DuplicateTable as error:
        raise FleetError(
            "the fleet's database has a schema fleet of another program",
            where=shown,
            expected="no schema fleet yet, or one that model-provisioner made",
            found=str(error).partition("\n")[0],
            fix="name another database: CREATE DATABASE makes one on the same server",
        ) from None


def _migrate(connection: Connection, shown: str, there: int, migrations: Sequence[Migration]) -> None:
    _become_owner(connection, shown, there, len(migrations))
    for migration in migrations[there:]:
        connection.execute(migration.sql)
    connection.execute("DELETE FROM fleet.version")
    connection.execute("INSERT INTO fleet.version VALUES (%s, %s)", (len(migrations), migrations[-1].writable_from))


def check_readable(connection: Connection, shown: str) -> None:
    """Raise `FleetError` where nobody has published yet, or only older programs than this one."""
    if _version(connection, shown, len(MIGRATIONS)) < len(MIGRATIONS):
        raise FleetError(
            "nobody has published to the fleet's database yet",
            where=shown,
            expected=f"a schema fleet of version {len(MIGRATIONS)}",
            found="none, or an older one",
            fix=f"run `{called('publish')}` as a role that may make it; docs/guides/fleet.md says which",
        )


def _version(connection: Connection, shown: str, ours: int) -> int:
    """Return the version of the schema, 0 where there is none. Raises `FleetError` for one that is too new."""
    try:
        with connection.transaction():
            number, writable_from = _one(connection, "SELECT number, writable_from FROM fleet.version")
    except psycopg.errors.UndefinedTable:
        return 0
    if writable_from > ours:
        raise FleetError(
            "the fleet's database was made by a newer version of model-provisioner",
            where=shown,
            expected=f"a schema fleet that programs of version {ours} of it may use",
            found=f"version {number}, for those from version {writable_from} on",
            fix="install the newer version of model-provisioner here",
        )
    return int(number)


def _become_owner(connection: Connection, shown: str, there: int, ours: int) -> None:
    """Take the role of the owner for the transaction, if that can be done: then each member of it may migrate the schema.

    Raises `FleetError` where this role may not make or change the schema; it names the one that may.
    """
    if there:
        owner, may = _one(
            connection,
            "SELECT tableowner, pg_has_role(tableowner, 'USAGE') FROM pg_tables"
            " WHERE (schemaname, tablename) = ('fleet', 'version')",
        )
    else:
        owner, may = _one(
            connection,
            "SELECT coalesce(s.owner, d.owner), coalesce(s.may, d.may) FROM"
            " (SELECT pg_get_userbyid(datdba) AS owner, has_database_privilege(oid, 'CREATE') AS may FROM pg_database"
            "  WHERE datname = current_database()) d LEFT JOIN"
            " (SELECT pg_get_userbyid(nspowner) AS owner, has_schema_privilege(oid, 'CREATE') AS may FROM pg_namespace"
            "  WHERE nspname = 'fleet') s ON true",
        )
    if not may:
        (role,) = _one(connection, "SELECT current_user")
        raise FleetError(
            "the fleet's database has to be prepared by its owner",
            where=shown,
            expected=f"a schema fleet of version {ours}",
            found=f"version {there}, which {role} may not change" if there else f"none, and {role} may not make it",
            fix=f"run `{called('publish')}` once as {owner}, or as a member of it",
        )
    (is_member,) = _one(connection, "SELECT pg_has_role(%s, 'MEMBER')", owner)
    if is_member:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))


def _one(connection: Connection, statement: str, *values: object) -> tuple[Any, ...]:
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row
