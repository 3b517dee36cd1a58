"""What `doit model-why` says is what happened, and nothing that did not."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from model_provisioner.engine.run import Run
from tests.support.project import DODO, TINY, settle
from tests.support.remote import ONE, REPO, TINY_SHA

WRONG = f"sha256:{'0' * 64}"
FAILED = "the last attempt failed"


def config(**entries):
    return json.dumps({"defaults": {"handoff": "{runtime_dir}/engines/{name}.json"}, "models": entries})


@pytest.fixture
def two(project):
    """Two models, handed off and at rest."""
    for name in "ab":
        project.add_tiny(f"{name}.gguf")
    project.models(config(a={"model_ref": "a.gguf"}, b={"model_ref": "b.gguf"}))
    settle()
    project.provision()
    assert project.why("a") == project.why("b") == []
    return project


# ---- pending


def test_what_the_lock_fetched_is_not_verified_yet_and_nothing_was_interrupted(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE})
    remote.doit("model-lock")
    assert remote.project.why("tiny") == [
        "the lock file has a digest now",
        "not verified since its fetch began",
        "checksum file missing",
        "header not in the catalog",
        "handoff missing",
    ]
    assert "1 done" in remote.provision().out
    assert remote.project.why("tiny") == []


def test_what_a_task_alone_fetched_is_not_verified_yet(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE})
    remote.project.write("dodo.py", DODO)
    remote.doit("models:fetch:tiny")
    assert remote.project.why("tiny")[0] == "not verified since its fetch began"


def test_what_a_task_alone_verified_is_not_handed_off_yet(project):
    project.add_tiny("a.gguf")
    project.models(config(a={"model_ref": "a.gguf"}))
    settle()
    project.write("dodo.py", DODO)
    project.doit("models:verify:a")
    assert project.why("a") == [
        "not handed off since its verification began",
        "header not in the catalog",
        "handoff missing",
    ]


def test_what_a_run_withdrew_and_never_came_to_is_not_verified_since(two, monkeypatch):
    os.utime(two.root / "b.gguf")
    settle()
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(two.state))
    with Run.begin(str(two.root / "models.yaml")) as run:
        run.sweep("ab", orphans=False)
    assert two.why("b") == [
        "mtime changed, content same (xxh3)",
        "not verified since its handoff was withdrawn",
        "handoff missing",
    ]
    assert two.why("a") == []


def test_a_row_of_an_earlier_version_has_no_reason_of_its_own(two):
    with closing(sqlite3.connect(two.state / "catalog.db")) as database, database:
        database.execute("UPDATE model SET lifecycle = 'Pending', reason = NULL WHERE name = 'a'")
    assert "not handed off since its verification began" in two.why("a")


# ---- failed


def test_a_fetch_that_was_not_allowed_is_no_verification_and_no_edit(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models(
        {"tiny": {"model_ref": ONE, "expected_digest": f"sha256:{TINY_SHA}", "strict_verification": False}}, allow=[]
    )
    remote.provision(code=1)
    assert remote.project.why("tiny") == ["the model is not on this machine", FAILED, "handoff missing"]


@pytest.mark.parametrize("before", [{}, {"expected_digest": f"sha256:{TINY_SHA}"}])
def test_a_digest_that_a_run_found_wrong_was_not_edited_since(two, before):
    two.models(config(a={"model_ref": "a.gguf", **before}, b={"model_ref": "b.gguf"}))
    two.provision()
    two.models(config(a={"model_ref": "a.gguf", "expected_digest": WRONG}, b={"model_ref": "b.gguf"}))
    assert two.why("a")[0] == "expected digest edited"
    two.provision(code=1)
    assert two.why("a")[:2] == [FAILED, "the digest differs from what is expected"]
    assert not any("edited" in text for text in two.why("a"))


def test_the_policy_of_a_model_that_failed_at_first_was_not_edited(project):
    project.add_tiny("a.gguf")
    project.models(config(a={"model_ref": "a.gguf", "expected_digest": WRONG}))
    project.provision(code=1)
    assert not any("edited" in text for text in project.why("a"))


# ---- moved


def test_a_file_on_a_file_system_that_was_mounted_anew_is_no_other_file(two):
    with closing(sqlite3.connect(two.state / "memo.db")) as database, database:
        database.execute("UPDATE file SET device = device + 1 WHERE path LIKE '%/a.gguf'")
    assert (
        two.why("a")[0]
        == "its file system has another number: it was mounted anew, or is another one, content same (xxh3)"
    )


def test_another_file_of_the_same_times_took_its_place(two):
    path = two.root / "a.gguf"
    times = path.stat().st_mtime_ns
    (two.root / "new").write_bytes(TINY.read_bytes())
    os.utime(two.root / "new", ns=(times, times))
    os.rename(two.root / "new", path)
    assert two.why("a")[0] == "another file took its place, content same (xxh3)"


def test_the_same_file_under_another_name_has_no_other_bytes(two):
    os.link(two.root / "a.gguf", two.root / "c.gguf")
    settle()
    two.provision()
    two.models(config(a={"model_ref": "c.gguf"}, b={"model_ref": "b.gguf"}))
    found = two.why("a")
    assert "model_ref edited" in found
    assert "checksum file of other files" in found
    assert not any("bytes" in text for text in found)
