"""What this user fetched, by id and digest."""

import sqlite3
from contextlib import closing

import pytest

from model_provisioner.fs.sqlite import Database
from model_provisioner.records.catalog import database, fetched
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.records.catalog.fetched import Fetched, FetchRecord
from model_provisioner.references.digest import Digest

ID = "hf:org/repo"


def digest(number):
    return Digest("sha256", f"{number:064x}")


@pytest.fixture
def fetches(tmp_path):
    return FetchRecord(Catalog(str(tmp_path)).database)


def test_a_fetch_is_remembered_by_id_and_digest(fetches):
    assert fetches.of((ID,), digest(1)) is None
    fetches.note(ID, digest(1), "c1", "2026-01-01T00:00:00Z")
    fetches.note(ID, digest(2), None, "2026-01-02T00:00:00Z")
    fetches.note(ID, digest(1), "c3", "2026-01-03T00:00:00Z")
    assert fetches.of((ID,), digest(1)) == Fetched("c3")
    assert fetches.of((ID,), digest(2)) == Fetched(None)
    assert fetches.of(("hf:org/other",), digest(1)) is None


def test_of_one_id_so_many_are_kept_and_no_more(fetches):
    fetches.note("hf:org/other", digest(0), "c", "2025-01-01T00:00:00Z")
    for number in range(fetched.KEPT + 1):
        fetches.note(ID, digest(number), f"c{number}", f"2026-01-01T00:00:{number:02}Z")
    assert fetches.of((ID,), digest(0)) is None
    assert fetches.of((ID,), digest(1)) == Fetched("c1")
    assert fetches.of(("hf:org/other",), digest(0)) == Fetched("c")


def test_what_a_catalog_of_the_version_before_has_fetched_is_taken_over(tmp_path):
    path = tmp_path / "catalog.db"
    older = Database(
        str(path),
        title="catalog",
        application_id=0x6D706361,
        schema=database._VERSION_1,
        upgrades=(database._VERSION_2,),
    )
    older.query("SELECT 1")
    older.close()
    rows = [
        ("/p", "a", ID, str(digest(1)), ID, "c1"),
        ("/q", "b", ID, str(digest(1)), ID, "c1"),
        ("/p", "c", "local:/x", str(digest(1)), "local:/x", None),
        ("/p", "d", "https://h/x", str(digest(1)), "https://h/x", None),
        ("", "hf:org/by-hand", "hf:org/by-hand", str(digest(1)), "local:/x", "c9"),
        ("/p", "e", "hf:org/failed", None, None, None),
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO model (project, name, id, lifecycle, strict, digest, source, revision)"
            " VALUES (?, ?, ?, 'Active', 1, ?, ?, ?)",
            rows,
        )
    fetches = FetchRecord(Catalog(str(tmp_path)).database)
    assert fetches.of((ID,), digest(1)) == Fetched("c1")
    assert fetches.of(("https://h/x",), digest(1)) == Fetched(None)
    assert fetches.of(("local:/x",), digest(1)) is None
    assert fetches.of(("hf:org/by-hand",), digest(1)) is None
