"""The catalog: rows as they were put, two writers, and what is refused by name."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from model_provisioner.records.catalog import database
from model_provisioner.records.catalog.catalog import READER, Catalog, Model, Transition
from model_provisioner.fs.sqlite import Database, ForeignDatabaseError
from model_provisioner.headers.metadata import Metadata, Split

FACTS = Metadata(
    format="gguf",
    architecture="llama",
    context_length=256,
    tensor_types=(("Q8_0", 9), ("F32", 1)),
    split=Split(number=0, count=3, tensors=20),
    notes=("a note",),
)
FULL = Model(
    project="/p",
    name="tiny",
    id="local:/p/tiny.gguf",
    lifecycle="Failed",
    path="/p/tiny.gguf",
    outcome="fail",
    reason="the digest differs",
    digest="sha256:00",
    expected="sha256:11",
    strict=False,
    size=2**62,
    engine="vllm",
    config="/p/models.yaml",
    handoff="/p/.runtime/x.json",
    metadata=FACTS,
    source="local:/p/tiny.gguf",
    revision="abc",
    registered_at="2026-01-01T00:00:00Z",
    verified_at="2026-01-02T00:00:00Z",
    used_at="2026-01-03T00:00:00Z",
    audited_at="2026-01-02T00:00:00Z",
    corrupt="sha256:22",
)


def row(name="tiny", project="/p", **fields):
    return Model(**{"project": project, "name": name, "id": f"local:{project}/{name}", "lifecycle": "Active", **fields})


@pytest.fixture
def catalog(tmp_path):
    return Catalog(str(tmp_path))


@pytest.mark.parametrize(
    "model",
    [FULL, row(), row(os.fsdecode(b"\xff"), os.fsdecode(b"/\xfe"), path=os.fsdecode(b"/\xfe/\xff"))],
    ids=["full", "empty", "no UTF-8"],
)
def test_a_row_comes_back_as_it_was_put(catalog, tmp_path, model):
    catalog.put(model)
    for reader in (catalog, Catalog(str(tmp_path)), Catalog.reader(str(tmp_path))):
        assert reader.get(model.project, model.name) == model
        assert reader.of_project(model.project) == [model]
        assert reader.by_id(model.id) == [model]


def test_two_projects_may_hold_one_model(catalog):
    one, two = row(project="/a", id="local:/x"), row(project="/b", id="local:/x", lifecycle="Failed")
    catalog.put(two)
    catalog.put(one)
    assert catalog.all() == catalog.by_id("local:/x") == [one, two]
    assert catalog.of_project("/a") == [one]
    catalog.remove("/a", ["tiny"])
    assert catalog.all() == [two]


def test_a_configuration_knows_its_handoffs(catalog):
    catalog.put(FULL)
    catalog.put(row("other", config="/p/models.yaml"))
    catalog.put(row("third", config="/p/one.yaml", handoff="/p/third.json"))
    assert catalog.handoffs("/p", "/p/models.yaml") == {"tiny": "/p/.runtime/x.json", "other": None}
    assert catalog.handoffs("/q", "/p/models.yaml") == {}


def test_the_time_of_registration_stays(catalog):
    catalog.put(row(registered_at="2026-01-01T00:00:00Z"))
    catalog.put(row(registered_at="2026-02-02T00:00:00Z", size=5))
    assert catalog.get("/p", "tiny") == row(registered_at="2026-01-01T00:00:00Z", size=5)


def test_as_json_it_has_plain_values(catalog):
    found = FULL.as_json()
    assert found["metadata"]["split"] == {"number": 0, "count": 3, "tensors": 20}
    assert found["metadata"]["tensor_types"] == [["Q8_0", 9], ["F32", 1]]
    assert found["strict"] is False
    assert row(project="").as_json()["project"] is None


def test_what_an_older_reader_read_of_a_header_is_forgotten(catalog, tmp_path):
    catalog.put(FULL)
    with closing(sqlite3.connect(catalog.path)) as connection, connection:
        connection.execute(f"UPDATE model SET metadata = replace(metadata, '\"reader\": {READER}', '\"reader\": 0')")
    assert Catalog(str(tmp_path)).get("/p", "tiny").metadata is None


def test_each_move_is_noted_and_only_the_last_ones_are_kept(catalog, tmp_path, monkeypatch):
    times = iter(f"2026-01-01T00:00:{number:02}Z" for number in range(60))
    monkeypatch.setattr("model_provisioner.records.catalog.catalog.now", lambda: next(times))
    catalog.put(row(lifecycle="Pending"))
    catalog.put(row(lifecycle="Failed", reason="the digest differs\n  where     /p/tiny.gguf"))
    catalog.put(row(lifecycle="Failed", reason="no move"))
    assert Catalog.reader(str(tmp_path)).history("/p", "tiny") == [
        Transition(time="2026-01-01T00:00:00Z", lifecycle="Pending"),
        Transition(time="2026-01-01T00:00:01Z", lifecycle="Failed", reason="the digest differs"),
    ]
    for number in range(50):
        catalog.put(row(lifecycle="Active" if number % 2 else "Pending", reason="x" * 999))
    history = catalog.history("/p", "tiny")
    assert len(history) == 50
    assert {len(moved.reason) for moved in history} == {200}
    assert [moved.time for moved in history] == [f"2026-01-01T00:00:{number:02}Z" for number in range(3, 53)]
    assert catalog.history("/p", "other") == []


def test_the_history_keeps_the_order_of_the_moves_when_the_clock_goes_back(catalog, monkeypatch):
    for time, state in (("2026-01-02T00:00:00Z", "Pending"), ("2026-01-01T00:00:00Z", "Active")):
        monkeypatch.setattr("model_provisioner.records.catalog.catalog.now", lambda time=time: time)
        catalog.put(row(lifecycle=state))
    assert [moved.lifecycle for moved in catalog.history("/p", "tiny")] == ["Pending", "Active"]
    assert catalog.get("/p", "tiny").lifecycle == "Active"


def test_what_is_retired_is_left_alone_and_the_other_rows_are_written(catalog, tmp_path):
    catalog.put(row("old", lifecycle="Retired", size=1), by="hand")
    run = Catalog(str(tmp_path))
    run.load("/p", ["old", "new"])
    refused = run.put(row("old", size=2), row("new", size=2))
    assert str(refused["old"]) == (
        "old is retired\n"
        f"  where     {catalog.path}\n"
        "  expected  a model in service\n"
        "  found     a model without handoff, until its retirement is undone\n"
        "  fix       model-provisioner retire --undo old"
    )
    assert {each.name: (each.lifecycle, each.size) for each in run.of_project("/p")} == {
        "old": ("Retired", 1),
        "new": ("Active", 2),
    }
    assert run.get("/p", "old").lifecycle == "Retired"
    assert run.retired("/p") == {"old"}
    assert run.retired("/q") == set()


def test_a_reading_in_full_is_remembered_as_long_as_the_digest_is_the_same(catalog):
    time = "2026-01-01T00:00:00Z"
    catalog.put(row(digest="sha256:00", audited_at=time))
    catalog.put(row(digest="sha256:00"))
    assert catalog.get("/p", "tiny").audited_at == time
    catalog.put(row(digest="sha256:11"))
    assert catalog.get("/p", "tiny").audited_at is None
    catalog.note_audit("/p", "tiny")
    assert catalog.get("/p", "tiny").audited_at > time


def test_corruption_is_noted_of_every_row_of_that_model(catalog):
    for project, digest in (("/a", "sha256:00"), ("/b", "sha256:00"), ("/c", "sha256:22")):
        catalog.put(row(project=project, path="/models/x", digest=digest))
    catalog.load("/a", ["tiny"])
    catalog.mark_corrupt("/models/x", "sha256:00", "sha256:11")
    assert [each.corrupt for each in catalog.all()] == ["sha256:11", "sha256:11", None]
    assert catalog.get("/a", "tiny").corrupt == "sha256:11"


@pytest.fixture
def version_1(tmp_path):
    """A catalog as version 1 of its schema had it, with one row; left so by a reader."""
    path = tmp_path / "catalog.db"
    Database(str(path), title="catalog", application_id=0x6D706361, version=1, schema=database._VERSION_1).query(
        "SELECT 1"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO model (project, name, id, lifecycle, strict, digest) VALUES ('/p', 'tiny', 'local:/x', 'Active', 1, 'd')"
        )
    return path


def version(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_catalog_of_the_version_before_is_brought_up_to_date_in_place(version_1, tmp_path):
    assert Catalog.reader(str(tmp_path)).get("/p", "tiny").digest == "d"
    assert version(version_1) == 1  # who only looks changes nothing
    catalog = Catalog(str(tmp_path))
    assert catalog.get("/p", "tiny") == row(id="local:/x", digest="d")
    assert catalog.history("/p", "tiny") == []
    assert version(version_1) == 6
    catalog.put(row(id="local:/x", lifecycle="Pending"))
    assert [moved.lifecycle for moved in catalog.history("/p", "tiny")] == ["Pending"]


def test_an_older_program_refuses_a_newer_catalog_by_name(catalog, tmp_path):
    catalog.put(row())
    older = Database(catalog.path, title="catalog", application_id=0x6D706361, version=1, schema=database._VERSION_1)
    with pytest.raises(ForeignDatabaseError) as caught:
        older.query("SELECT 1")
    assert "expected  schema version 1\n  found     schema version 6\n" in str(caught.value)


def test_many_threads_and_connections_lose_no_row(catalog, tmp_path):
    def work(number):
        own = Catalog(str(tmp_path)) if number % 2 else catalog
        for step in range(20):
            own.put(row(f"{number}-{step}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(catalog.of_project("/p")) == 120


def test_a_reader_of_nothing_finds_nothing_and_makes_nothing(tmp_path):
    reader = Catalog.reader(str(tmp_path / "state"))
    assert reader.all() == []
    assert reader.get("/p", "x") is None
    assert os.listdir(tmp_path) == []


def test_a_catalog_of_another_version_is_refused_by_name(catalog, tmp_path):
    catalog.put(row())
    with closing(sqlite3.connect(catalog.path)) as connection, connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ForeignDatabaseError) as caught:
        Catalog(str(tmp_path)).all()
    assert str(caught.value) == (
        "the catalog was written by another version of model-provisioner\n"
        f"  where     {catalog.path}\n"
        "  expected  schema version 6\n"
        "  found     schema version 99\n"
        "  fix       it was left as it is: use that version, move it away or set MODEL_PROVISIONER_STATE_DIR to another folder"
    )
