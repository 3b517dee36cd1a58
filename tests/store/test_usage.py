"""Who used what, and when: a record a project, that a run with nothing to do moves by one call."""

import json
import os
import time
from pathlib import Path

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.store import usage
from model_provisioner.store.store import Store
from model_provisioner.store.usage import has_record, note, owner_of, touch, usage_records


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "cache"))
    for tree in ("k/1", "k/2", "l/1"):
        store.folder(f"trees/{tree}")
    return store


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    return str(tmp_path / "state")


CONFIG = "/a project\udcff/models.yaml"


def test_a_project_without_a_record_has_none(store, state):
    assert not touch(state, CONFIG)
    assert not has_record(state, CONFIG)
    assert usage_records(store) == []


def test_what_is_noted_is_found(store, state):
    note(store, state, CONFIG, ["l/1", "k/1"], ["/h"])
    (use,) = usage_records(store)
    assert (use.owner, use.config, use.handoffs) == (owner_of(state), CONFIG, ("/h",))
    assert use.trees == {"k/1": None, "l/1": None}
    assert abs(use.last("k/1") - time.time()) < 5
    assert use.last("k/2") == 0
    assert has_record(state, CONFIG)


def test_a_touch_moves_the_time_of_all_and_no_byte(store, state):
    note(store, state, CONFIG, ["k/1"], [])
    (path,) = os.scandir(os.path.join(store.root, "uses"))
    before = Path(path.path).read_bytes()
    os.utime(path.path, (1e9, 1e9))
    assert usage_records(store)[0].last("k/1") == 10**9
    assert touch(state, CONFIG)
    assert usage_records(store)[0].last("k/1") > 10**9
    assert Path(path.path).read_bytes() == before


def test_what_a_project_no_longer_has_keeps_its_time(store, state):
    note(store, state, CONFIG, ["k/1", "l/1"], [])
    (path,) = os.scandir(os.path.join(store.root, "uses"))
    os.utime(path.path, (1e9, 1e9))
    note(store, state, CONFIG, ["k/2", "l/1"], [])
    (use,) = usage_records(store)
    assert use.trees == {"k/1": 10**9, "k/2": None, "l/1": None}
    os.rmdir(os.path.join(store.root, "trees/k/1"))
    note(store, state, CONFIG, [], [])
    assert usage_records(store)[0].trees.keys() == {"k/2", "l/1"}  # what is gone is forgotten


def test_several_configurations_and_owners_have_records_of_their_own(store, state, tmp_path):
    (tmp_path / "other").mkdir()
    note(store, state, "/p/a.yaml", ["k/1"], [])
    note(store, state, "/p/b.yaml", ["k/2"], [])
    note(store, str(tmp_path / "other"), "/p/a.yaml", ["l/1"], [])
    assert sorted(tree for use in usage_records(store) for tree in use.trees) == ["k/1", "k/2", "l/1"]


def test_a_store_that_moved_gets_a_record_again(store, state, tmp_path):
    note(store, state, CONFIG, ["k/1"], [])
    os.rename(store.root, tmp_path / "elsewhere")
    assert not touch(state, CONFIG)
    moved = Store(str(tmp_path / "elsewhere"))
    note(moved, state, CONFIG, ["k/1"], [])
    assert touch(state, CONFIG)
    assert len(usage_records(moved)) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", "[" * 10**5]
    + [
        json.dumps({"owner": "o", "config": "c", "handoffs": [], "trees": {}} | fault)
        for fault in ({"trees": []}, {"trees": {"a": "b"}}, {"handoffs": 5}, {"trees": {"a": [1]}})
    ],
    ids=range(10),
)
def test_what_is_no_record_says_nothing(store, state, text):
    folder = store.folder("uses").path
    with open(os.path.join(folder, "x.json"), "w", encoding="utf-8") as file:
        file.write(text)
    note(store, state, CONFIG, ["k/1"], [])
    assert [use.config for use in usage_records(store)] == [CONFIG]


def test_containers_of_one_image_are_not_taken_for_each_other(store, tmp_path, monkeypatch):
    """Name of the machine, path and inode of the state folder may be alike; the number that a first use gives it is not."""
    state = tmp_path / "state"
    found = []
    for _ in range(2):
        state.mkdir()
        note(store, str(state), CONFIG, ["k/1"], [])
        found.append(owner_of(str(state)))
        for path in sorted(state.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        state.rmdir()
    assert found[0].rpartition(" ")[2] != found[1].rpartition(" ")[2]
    assert {use.owner for use in usage_records(store)} == set(found)


def test_a_record_that_can_not_be_read_is_told(store, state, monkeypatch):
    """It may be of anybody, who uses anything."""
    note(store, state, CONFIG, ["k/1"], [])
    monkeypatch.setattr(usage, "JSON_LIMIT", 10)
    with pytest.raises(StorageError, match="a usage record can't be read"):
        usage_records(store)
