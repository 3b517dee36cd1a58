"""What a catalog records of its publications, and what of its rows is published."""

from datetime import UTC, datetime

import pytest

from model_provisioner.fs.sqlite import Database
from model_provisioner.records.catalog import database as catalog_database
from model_provisioner.records.catalog.catalog import Catalog, Model
from model_provisioner.records.catalog.database import catalog_file
from model_provisioner.records.catalog.publications import LONGEST, Publications, PublishedModel, as_text

SECRET = "s3cretword"


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(str(tmp_path))
    yield catalog
    catalog.close()


@pytest.fixture
def publications(catalog):
    return Publications(catalog.database)


def row(name="tiny", **fields):
    return Model(**{"project": "/p", "name": name, "id": "hf:org/tiny", "lifecycle": "Active", **fields})


# ---- whose they are


def test_a_catalog_keeps_its_identity_on_its_machine(publications):
    first = publications.identify("here")
    assert not first.is_copy
    assert publications.identify("here") == first


def test_a_catalog_that_came_from_another_machine_is_another_one_and_remembers_nothing(publications):
    first, token = publications.identify("there"), publications.draw()
    found = publications.identify("here")
    assert found.is_copy
    assert found.catalog != first.catalog
    assert not publications.remembers(token)
    assert publications.identify("here").catalog == found.catalog


def test_a_machine_that_can_not_be_told_is_no_other_one(publications):
    first = publications.identify("")
    assert publications.identify("here") == first
    assert publications.identify("") == first
    assert publications.identify("elsewhere").is_copy


def test_a_catalog_that_was_restored_elsewhere_is_the_same_one(publications):
    first = publications.identify("there")
    token = publications.draw()
    assert publications.identify("here", restored=True) == first
    assert publications.remembers(token)
    assert publications.identify("here") == first


def test_another_identity_is_drawn_where_it_is_asked_for(publications):
    first = publications.identify("here")
    found = publications.identify("here", anew=True)
    assert (found.is_copy, found.catalog == first.catalog) == (False, False)


def test_a_catalog_is_unmoved_while_its_last_token_stands_for_all_that_it_has(catalog, publications):
    catalog.put(row())
    uuid = publications.identify("here").catalog
    assert publications.unmoved("here") is None
    token = publications.draw(publications.changes())
    assert publications.unmoved("here") == publications.unmoved("") == (uuid, token)
    assert publications.unmoved("elsewhere") is None
    catalog.put(row())
    assert publications.unmoved("here") is None
    publications.draw(publications.changes())
    publications.draw()
    assert publications.unmoved("here") is None, "the last one says nothing of what is there"


def test_the_last_tokens_are_remembered(publications, monkeypatch):
    monkeypatch.setattr("model_provisioner.records.catalog.publications.REMEMBERED", 3)
    tokens = [publications.draw() for _ in range(5)]
    assert [publications.remembers(token) for token in tokens] == [False, False, True, True, True]


# ---- what is published


def test_rows_are_read_with_the_number_of_their_moment(catalog, publications):
    catalog.put(
        row(digest="sha256:d", size=7, outcome="fail", reason="first line\n  where  /home/me/x", path="/home/me/x")
    )
    number, models = publications.models("/p")
    assert models == [
        PublishedModel(
            name="tiny", id="hf:org/tiny", digest="sha256:d", size_bytes=7, state="Active", outcome="fail",
            reason="first line", verified_at=None, audited_at=None,
        )
    ]  # fmt: skip
    assert publications.changes() == {"/p": number}
    catalog.put(row())
    assert publications.changes() == {"/p": number + 1}


def test_an_emptied_project_still_has_its_number(catalog, publications):
    catalog.put(row())
    catalog.remove("/p", ["tiny"])
    assert publications.models("/p") == (publications.changes()["/p"], [])


def test_no_credential_of_a_reference_is_published(catalog, publications):
    catalog.put(row(id=f"https://me:{SECRET}@host.example/x.gguf?token={SECRET}", lifecycle="Active"))
    _, (model,) = publications.models("/p")
    assert SECRET not in str(model)


def test_times_are_times(catalog, publications):
    catalog.put(row("a", verified_at="2026-01-02T03:04:05Z", audited_at="yesterday"))
    _, (model,) = publications.models("/p")
    assert (model.verified_at, model.audited_at) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None)


# ---- texts


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("plain", "plain"),
        ("ü/模型", "ü/模型"),
        ("x\udcff", "x\\xff…41add8152e6530cd1f5030084f5c4fd3"),
        ("x\0y", "x\\x00y…ce3890a816f5237a17aa7e1436113bba"),
        ("a" * LONGEST, "a" * LONGEST),
    ],
)
def test_a_text_is_held_as_any_database_can_hold_it(text, held):
    assert as_text(text) == held


def test_bytes_and_the_text_that_shows_them_are_two():
    assert as_text("/p\udcff") != as_text("/p\\xff")


def test_a_long_text_is_cut_and_stays_another_than_its_like():
    one, other = as_text("ü" * LONGEST + "a"), as_text("ü" * LONGEST + "b")
    assert one != other
    assert LONGEST - 1 <= len(one.encode()) <= LONGEST


def test_a_catalog_of_the_version_before_gets_what_publications_need(tmp_path):
    older = Database(
        str(tmp_path / "catalog.db"), title="catalog", application_id=0x6D706361, state=str(tmp_path),
        schema=catalog_database._VERSION_1, upgrades=(catalog_database._VERSION_2, catalog_database._VERSION_3, catalog_database._VERSION_4),
    )  # fmt: skip
    older.query("SELECT 1")
    older.close()
    database = catalog_file(str(tmp_path), Database)
    assert Publications(database).identify("here").catalog
    database.close()
