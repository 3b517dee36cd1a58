"""`--scheduler` of `provision` and `verify`, as a user meets it: who reads, what a worker's word is worth, and how trouble ends."""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from model_provisioner.fs.identity import identity_of
from model_provisioner.hashing.memo import Memo
from tests.support.project import AT_ONCE, settle_in_every_process, wait_for_handlers

TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
LIE = "0" * 64
HANDOFFS = ".runtime/engines/{name}.json"
KINDS = '''
"""Executors that answer as their name says."""
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from threading import Lock


waiting, meeting = [], Lock()


class Answering(Executor):
    slots = 2

    def __init__(self, kind):
        self.kind = kind

    def submit(self, call, task):
        with open("handed", "a") as file:
            file.writelines(path + "\\n" for path, look in task)
        future = Future()
        host, said = call(task)
        if self.kind == "lies":
            said = [("0" * 64, look, look) for path, look in task]
        elif self.kind == "stale":
            said = [((1, 2, 3),) for path, look in task]
        elif self.kind == "unmounted":
            said = ["No such file or directory" for path, look in task]
        elif self.kind == "breaks":
            future.set_exception(BrokenProcessPool("a process died"))
            return future
        elif self.kind == "sleeps":
            return future
        elif self.kind == "meets":  # answers when another file is there too
            with meeting:  # several threads hand files over
                waiting.append((future, said))
                if len(waiting) == 2:
                    for each, told in waiting:
                        each.set_result(("worker-7", told))
            return future
        future.set_result(("worker-7", said))
        return future
'''
POINTS = "[model_provisioner.executors]\ntest = kinds_for_tests:Answering\n"


@pytest.fixture
def cluster(project, tmp_path):
    """A project of two models, and a package that brings executors: `test:honest`, `test:lies`, …"""
    site = tmp_path / "site"
    (site / "kinds_for_tests-1.dist-info").mkdir(parents=True)
    (site / "kinds_for_tests.py").write_text(KINDS)
    (site / "kinds_for_tests-1.dist-info" / "entry_points.txt").write_text(POINTS)
    (site / "kinds_for_tests-1.dist-info" / "METADATA").write_text("Name: kinds-for-tests\nVersion: 1\n")
    project.environ["PYTHONPATH"] = str(site)
    project.environ["PYTHONWARNINGS"] = "default"
    for name in ("a", "b"):
        os.utime(project.add_tiny(f"{name}.gguf"), (1_600_000_000, 1_600_000_000))
    write(project)
    return project


def write(project, **of_a):
    models = {"a": {"model_ref": "a.gguf", **of_a}, "b": {"model_ref": "b.gguf"}}
    project.models(json.dumps({"defaults": {"handoff": HANDOFFS}, "models": models}))


def run(project, *args, code=0, by="program"):
    """Run a command in a process of its own; return its document and what it said beside it."""
    start = project.start_program if by == "program" else project.start
    process = start(*args, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    assert b"Traceback" not in err, err
    return json.loads(out), err.decode()


def handed(project):
    """Return the names of the files that were handed over since this was last asked."""
    path = project.root / "handed"
    names = [line.rpartition("/")[2] for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(names)


def states(document):
    return {model["name"]: (model["state"], model["outcome"]) for model in document["models"]}


def handed_off(project):
    return sorted(path.stem for path in (project.root / ".runtime/engines").glob("*.json"))


def last(project, name="a"):
    with closing(Memo(str(project.state))) as memo:
        return memo.last(str(project.root / f"{name}.gguf"))


# ---- who reads


@pytest.mark.slow
@pytest.mark.parametrize("by", ["program", "doit"])
def test_what_has_to_be_read_is_handed_over_and_what_is_known_is_not(cluster, by):
    settle_in_every_process()
    found, err = run(cluster, "provision", "--scheduler", "test:honest", by=by)
    assert handed(cluster) == ["a.gguf", "b.gguf"]
    assert states(found) == {"a": ("Active", "warn"), "b": ("Active", "warn")}
    assert handed_off(cluster) == ["a", "b"]
    row = last(cluster)
    assert (row.fingerprint, row.sha256, row.ground, row.settled) == (None, TINY_SHA, "said", True)
    assert row.identity == identity_of(str(cluster.root / "a.gguf"))
    assert abs(row.hashed_at - time.time()) < 60
    run(cluster, "provision", "--scheduler", "test:honest", by=by)
    os.utime(cluster.root / "a.gguf", (1_600_000_001, 1_600_000_001))
    settle_in_every_process()
    run(cluster, "provision", "--scheduler", "test:honest", by=by)
    assert handed(cluster) == ["a.gguf"]
    cluster.doit("provision") if by == "doit" else cluster.program("provision")
    assert handed(cluster) == []


def test_an_audit_hands_over_and_notes_each(cluster):
    cluster.program("provision")
    assert last(cluster).fingerprint is not None
    cluster.environ["MODEL_PROVISIONER_SCHEDULER"] = "test:honest"
    found, _ = run(cluster, "verify", "--full")
    assert [each["name"] for each in found["result"]["audited"]] == ["a", "b"]
    assert handed(cluster) == ["a.gguf", "b.gguf"]
    assert last(cluster).fingerprint is None
    found, _ = run(cluster, "verify", "--full", "--scheduler", "")
    assert handed(cluster) == []
    assert last(cluster).fingerprint is not None


def test_several_models_are_audited_at_a_time(cluster):
    cluster.program("provision")
    cluster.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "20s"
    os.mkdir(cluster.root / "apart")  # small files of one folder have one lock
    os.rename(cluster.root / "b.gguf", cluster.root / "apart" / "b.gguf")
    cluster.models(
        json.dumps(
            {
                "defaults": {"handoff": HANDOFFS},
                "models": {"a": {"model_ref": "a.gguf"}, "b": {"model_ref": "apart/b.gguf"}},
            }
        )
    )
    cluster.program("provision")
    found, _ = run(cluster, "verify", "--full", "--scheduler", "test:meets")
    assert [each["name"] for each in found["result"]["audited"]] == ["a", "b"]
    assert handed(cluster) == ["a.gguf", "b.gguf"]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["program", "doit"])
def test_where_nothing_has_to_be_read_an_executor_that_is_not_there_is_not_missed(cluster, by):
    settle_in_every_process()
    cluster.program("provision")
    cluster.environ["MODEL_PROVISIONER_SCHEDULER"] = "dask:nonsense://x"
    verify = "model-verify" if by == "doit" else "verify"
    run(cluster, "provision", by=by)
    run(cluster, verify, by=by)
    os.unlink(cluster.root / ".runtime/engines/a.json")
    run(cluster, "provision", by=by)
    assert handed_off(cluster) == ["a", "b"]
    os.utime(cluster.root / "b.gguf", (1_600_000_001, 1_600_000_001))
    for command in ("provision", verify):
        found, _ = run(cluster, command, by=by, code=2)
        assert found["errors"][0]["what"] == "the executor can't be used"
    assert handed_off(cluster) == ["a"]


def test_a_file_of_two_models_is_handed_over_once(cluster):
    models = {"a": {"model_ref": "a.gguf"}, "b": {"model_ref": "a.gguf"}}
    cluster.models(json.dumps({"defaults": {"handoff": HANDOFFS}, "models": models}))
    found, _ = run(cluster, "provision", "--full", "--scheduler", "test:honest")
    assert states(found) == {"a": ("Active", "warn"), "b": ("Active", "warn")}
    assert handed(cluster) == ["a.gguf"]


@pytest.mark.parametrize("by", ["program", "doit"])
def test_the_project_chooses_no_executor(cluster, by):
    cluster.write(
        "pyproject.toml",
        '[tool.doit]\nscheduler = "test:lies"\n[tool.doit.commands.provision]\nscheduler = "test:lies"\n',
    )
    cluster.write(
        "doit.cfg",
        "[GLOBAL]\nscheduler = test:lies\n[provision]\nscheduler = test:lies\n[model-verify]\nscheduler = test:lies\n",
    )
    run(cluster, "provision", by=by)
    run(cluster, "model-verify" if by == "doit" else "verify", "--full", by=by)
    assert handed(cluster) == []


# ---- what a worker's word is worth


def test_a_model_that_a_worker_finds_wrong_is_read_here_before_it_fails(cluster):
    write(cluster, expected_digest=f"sha256:{TINY_SHA}")
    found, err = run(cluster, "provision", "a", "--scheduler", "test:lies")
    assert states(found)["a"] == ("Active", "pass")
    assert f"note: read by this machine: a.gguf (a worker said sha256:{LIE}, which it is not)\n" in err
    assert handed(cluster) == ["a.gguf"]
    row = last(cluster)
    assert row.sha256 == TINY_SHA and row.fingerprint is not None


def test_a_model_that_is_wrong_fails_by_what_was_read_here(cluster):
    write(cluster, expected_digest=f"sha256:{LIE}")
    found, _ = run(cluster, "provision", "a", "--scheduler", "test:honest", code=1)
    (error,) = found["errors"]
    assert (error["code"], error["found"]) == ("DigestMismatchError", f"sha256:{TINY_SHA}")
    assert states(found)["a"] == ("Failed", "fail")
    assert last(cluster).fingerprint is not None
    assert handed_off(cluster) == []


@pytest.mark.slow
def test_what_a_worker_said_in_an_earlier_run_fails_no_model_either(cluster):
    settle_in_every_process()
    run(cluster, "provision", "a", "--scheduler", "test:lies")
    assert last(cluster).sha256 == LIE
    write(cluster, expected_digest=f"sha256:{TINY_SHA}")
    found, _ = run(cluster, "provision", "a")
    assert states(found)["a"] == ("Active", "pass")
    assert last(cluster).sha256 == TINY_SHA


@pytest.mark.slow
def test_by_what_a_worker_said_no_check_no_lock_and_no_statement_fails(cluster, tmp_path):
    settle_in_every_process()
    write(cluster, expected_digest=f"sha256:{TINY_SHA}")
    cluster.program("provision")
    cluster.program("attest", "a", "-o", str(tmp_path / "honest.json"))

    def lie():
        row = last(cluster)
        with closing(Memo(str(cluster.state))) as memo:
            memo.keep({str(cluster.root / "a.gguf"): replace(row, fingerprint=None, sha256=LIE, ground="said")})

    lie()
    cluster.program("attest", "a", "--verify", str(tmp_path / "honest.json"))
    assert last(cluster).sha256 == TINY_SHA
    lie()
    cluster.program("check")
    assert last(cluster).sha256 == TINY_SHA
    cluster.program("lock")
    write(cluster)
    lie()
    cluster.program("lock", "--check")
    assert last(cluster).sha256 == TINY_SHA
    os.unlink(cluster.root / "models.lock")
    write(cluster, expected_digest=f"sha256:{TINY_SHA}")
    lie()
    cluster.program("lock")
    assert last(cluster).sha256 == TINY_SHA


def test_an_audit_finds_no_corruption_by_a_lie(cluster):
    cluster.program("provision")
    found, _ = run(cluster, "verify", "--full", "--scheduler", "test:lies")
    assert states(found) == {"a": ("Active", "warn"), "b": ("Active", "warn")}
    assert {model["digest"]["value"] for model in found["models"]} == {TINY_SHA}
    assert handed_off(cluster) == ["a", "b"]


def test_corruption_that_a_worker_finds_is_found(cluster):
    cluster.program("provision")
    path = cluster.root / "a.gguf"
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with closing(sqlite3.connect(cluster.state / "memo.db")) as connection, connection:
        connection.execute("UPDATE file SET ctime_ns = ? WHERE path = ?", (str(os.stat(path).st_ctime_ns), str(path)))
    found, _ = run(cluster, "verify", "--full", "--scheduler", "test:honest", code=1)
    assert [(error["code"], error["model"]) for error in found["errors"]] == [("CorruptModelError", "a")]
    assert handed_off(cluster) == ["b"]


def test_a_stale_file_is_read_here_and_told(cluster):
    found, err = run(cluster, "provision", "--scheduler", "test:stale")
    assert states(found) == {"a": ("Active", "warn"), "b": ("Active", "warn")}
    assert last(cluster).sha256 == TINY_SHA and last(cluster).fingerprint is not None
    assert "note: read by this machine: a.gguf (worker-7 sees another file there: 1 bytes of 0.000000, inode 3" in err
    assert err.endswith("), and 1 more\n")


# ---- trouble


@pytest.mark.parametrize("by", ["program", "doit"])
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("breaks", "a worker failed, or was lost, while it had "),
        ("unmounted", "a worker can't read a file that is here"),
        ("sleeps", "the workers are silent"),
    ],
)
def test_trouble_of_the_executor_fails_no_model(cluster, kind, what, by):
    cluster.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "1s"
    cluster.program("provision", "b")
    found, err = run(cluster, "provision", "--full", "--scheduler", f"test:{kind}", code=2, by=by)
    (error,) = found["errors"]
    assert error["code"] == "ExecutorError"
    assert error["what"].startswith(what)
    assert "WARNING: b  its handoff was withdrawn" in err
    assert {model["name"]: model["state"] for model in found["models"]} == {"a": "Pending", "b": "Pending"}
    assert handed_off(cluster) == []
    run(cluster, "provision", by=by)
    assert handed_off(cluster) == ["a", "b"]


def test_an_executor_that_can_not_be_reached_costs_an_audit_no_handoff(cluster):
    cluster.program("provision")
    found, err = run(cluster, "verify", "--full", "--scheduler", "dask:nonsense://x", code=2)
    assert found["errors"][0]["what"] == "the executor can't be used"
    assert handed_off(cluster) == ["a", "b"]


def test_ctrl_c_waits_for_no_worker(cluster):
    process = cluster.start_program("provision", "--scheduler", "test:sleeps")
    wait_for_handlers(process)
    end = time.monotonic() + 20
    while not (cluster.root / "handed").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - began < AT_ONCE
    assert b"Traceback" not in err


@pytest.mark.parametrize("by", ["program", "doit"])
def test_one_that_can_not_be_understood(cluster, by):
    for args in (["provision", "--scheduler", "teest:x"], ["provision", "--scheduler", "local:none"]):
        found, _ = run(cluster, *args, code=3, by=by)
        assert found["errors"][0]["code"] == "InputError"
    cluster.environ["MODEL_PROVISIONER_SCHEDULER"] = "teest:x"
    found, _ = run(cluster, "provision", code=3, by=by)
    (error,) = found["errors"]
    assert (error["code"], error["expected"]) == ("SettingError", "local:N, dask:ADDRESS, ray:ADDRESS, test:…")
