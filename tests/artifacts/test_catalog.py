"""The catalog: rows as they were put, two writers, and what is refused by name."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from model_provisioner.artifacts.catalog import READER, Catalog, Model
from model_provisioner.artifacts.database import ForeignDatabaseError
from model_provisioner.artifacts.facts import Facts, Split

FACTS = Facts(
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
)


def row(name="tiny", project="/p", **fields):
    return Model(**{"project": project, "name": name, "id": f"local:{project}/{name}", "lifecycle": "Active", **fields})


@pytest.fixture
def catalog(tmp_path):
    return Catalog(str(tmp_path))


@pytest.mark.parametrize(
    "model", [FULL, row(), row(os.fsdecode(b"\xff"), os.fsdecode(b"/\xfe"), path=os.fsdecode(b"/\xfe/\xff"))]
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
        "  expected  schema version 1\n"
        "  found     schema version 99\n"
        "  fix       it was left as it is: use that version, move it away or set MODEL_PROVISIONER_STATE_DIR to another folder"
    )
