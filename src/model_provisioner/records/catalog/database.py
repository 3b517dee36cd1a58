"""The catalog's database: its schema, and the number that tells whether a project's rows changed.

Every no-op imports this module, so it imports little.
"""

from __future__ import annotations

import os

from model_provisioner.fs.sqlite import Database, ReadOnlyDatabase, to_column

_VERSION_1 = """
CREATE TABLE model (
  project NOT NULL, name NOT NULL, id NOT NULL, lifecycle TEXT NOT NULL, path, outcome TEXT, reason TEXT,
  digest TEXT, expected TEXT, strict INTEGER NOT NULL, size INTEGER, engine TEXT, config, handoff, metadata TEXT,
  source, revision TEXT,   registered_at TEXT, verified_at TEXT, used_at TEXT,
  PRIMARY KEY (project, name)
) WITHOUT ROWID;
CREATE INDEX model_id ON model (id);
CREATE TABLE change (project PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER model_inserted AFTER INSERT ON model BEGIN
  INSERT INTO change VALUES (new.project, random() >> 16) ON CONFLICT DO UPDATE SET number = number + 1; END;
CREATE TRIGGER model_updated AFTER UPDATE ON model BEGIN
  INSERT INTO change VALUES (new.project, random() >> 16) ON CONFLICT DO UPDATE SET number = number + 1; END;
CREATE TRIGGER model_deleted AFTER DELETE ON model BEGIN
  INSERT INTO change VALUES (old.project, random() >> 16) ON CONFLICT DO UPDATE SET number = number + 1; END
"""

_VERSION_2 = """
ALTER TABLE model ADD COLUMN audited_at TEXT;
ALTER TABLE model ADD COLUMN corrupt TEXT;
ALTER TABLE model ADD COLUMN history TEXT NOT NULL DEFAULT '';
CREATE INDEX model_retired ON model (project) WHERE lifecycle = 'Retired'
"""

_VERSION_3 = """
CREATE TABLE verification (project NOT NULL, name NOT NULL, record TEXT NOT NULL, PRIMARY KEY (project, name));
CREATE TRIGGER model_forgotten AFTER DELETE ON model BEGIN
  DELETE FROM verification WHERE project = old.project AND name = old.name; END;
CREATE TABLE fetched (id NOT NULL, digest TEXT NOT NULL, revision TEXT, time TEXT, PRIMARY KEY (id, digest)) WITHOUT ROWID;
INSERT OR IGNORE INTO fetched SELECT id, digest, revision, verified_at FROM model
  WHERE source = id AND id NOT LIKE 'local:%' AND digest IS NOT NULL
"""

_VERSION_4 = """
CREATE TABLE download (
  number INTEGER PRIMARY KEY, request BLOB NOT NULL UNIQUE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  validator TEXT, recorded INTEGER
);
CREATE INDEX download_recorded ON download (recorded)
"""

_VERSION_5 = """
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER outcome_inserted AFTER INSERT ON model WHEN new.outcome IS NOT NULL BEGIN
  INSERT INTO counter VALUES ('verified ' || new.outcome, 1) ON CONFLICT DO UPDATE SET value = value + 1; END;
CREATE TRIGGER outcome_updated AFTER UPDATE OF outcome ON model WHEN new.outcome IS NOT NULL BEGIN
  INSERT INTO counter VALUES ('verified ' || new.outcome, 1) ON CONFLICT DO UPDATE SET value = value + 1; END;
CREATE TABLE identity (uuid TEXT NOT NULL, machine TEXT NOT NULL);
CREATE TABLE publication (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE)
"""

_VERSION_6 = "ALTER TABLE publication ADD COLUMN changes TEXT"


def catalog_file(state: str, database: type[Database]) -> Database:
    """Return the catalog's database in the state folder `state`."""
    path = os.path.join(state, "catalog.db")
    return database(
        path,
        title="catalog",
        application_id=0x6D706361,
        schema=_VERSION_1,
        upgrades=(_VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6),
        state=state,
    )


def change_of(project: str, state: str) -> int | None:
    """Return a number that triggers increase with every change of the project's rows, from a random start in every database.

    None if there is no row. Raises `StorageError` if the database can't be read.
    """
    database = catalog_file(state, ReadOnlyDatabase)
    rows = database.query("SELECT number FROM change WHERE project = ?", (to_column(project),))
    return int(str(rows[0][0])) if rows else None
