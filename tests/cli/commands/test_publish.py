"""`publish`: what moved comes to the fleet's database, and it ends in time whatever the database does."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest

from model_provisioner.operations.fleet.machine import machine_id
from model_provisioner.operations.fleet import publish
from tests.support.postgres import ANSWERED, PASSWORD, Host, Partition, Silence
from tests.support.project import AT_ONCE, DODO, document
from tests.support.remote import wait_until

URL = "MODEL_PROVISIONER_FLEET_URL"
ONE = "models: {tiny: {model_ref: tiny.gguf}}\n"
ANSWER = {"catalog": "u", "is_copy": False, "projects": [], "written": 0, "removed": 0, "clock_skew_seconds": 0}
TIME_IS_UP = "the fleet's database did not answer in time"


@pytest.fixture
def one(project):
    """A project of one model, provisioned."""
    project.add_tiny("tiny.gguf")
    project.models(ONE)
    project.write("dodo.py", DODO)
    project.program("provision")
    return project


@pytest.fixture
def published(one, fleet):
    """The same, published once by the owner of the schema, and then by a role of its own."""
    fleet.make()
    Host(fleet, str(one.state)).publish()
    one.environ[URL] = fleet.url("host_a")
    return one


@pytest.mark.slow
def test_what_moved_is_sent(one, fleet):
    one.environ[URL] = fleet.url("admin")
    assert one.program("publish").out == f"published to {fleet.place}: 1 model new or changed, 0 removed\n"
    assert one.doit("model-publish").out == f"nothing moved: {fleet.place} is up to date\n"
    assert fleet.query("SELECT name, state, size_bytes FROM fleet.models") == [("tiny", "Active", 105248)]
    one.program("retire", "tiny")
    found = document(one.program("publish", "--json"))
    assert found["result"] | {"catalog": None} == {
        "catalog": None,
        "clock_skew_seconds": 0,
        "database": fleet.place,
        "is_copy": False,
        "projects": [str(one.root)],
        "removed": 0,
        "written": 1,
    }
    assert fleet.query("SELECT state FROM fleet.models") == [("Retired",)]


def test_it_needs_an_address(project):
    answer = project.program("publish", code=3)
    assert answer.err.startswith("ERROR: nothing says where the fleet's database is\n")


def test_a_project_does_not_say_where_the_database_is_or_how_long_it_may_take(published, fleet):
    published.write(
        "doit.cfg",
        "[model-publish]\ntimeout = 1w\njitter = 1d\ntake_over = True\n\n[model-list]\nfleet = True\nstate = Failed\n",
    )
    assert published.doit("model-publish").out == f"nothing moved: {fleet.place} is up to date\n"
    assert published.doit("model-list").out.startswith("NAME ")


def test_no_code_of_a_project_is_imported(published):
    published.write("psycopg.py", "raise SystemExit('code of the project was run')\n")
    published.write("model_provisioner.py", "raise SystemExit('code of the project was run')\n")
    published.program("publish")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--timeout", "0s"], "--timeout can't be read"),
        (["--timeout", "2d"], "--timeout can't be read"),
        (["--timeout", "soon"], "--timeout can't be read"),
        (["--jitter", "-1s"], "--jitter can't be read"),
        (["--as-new", "--take-over"], "a catalog is a copy of another or was restored, not both"),
        (["tiny"], "publish takes no names"),
    ],
)
def test_what_is_typed_wrong(project, arguments, what):
    assert project.program("publish", *arguments, code=3).err.startswith(f"ERROR: {what}\n")


def test_it_waits_for_a_random_time_where_that_is_asked_for(project, monkeypatch):
    project.environ[URL] = "postgresql://db.example/fleet"
    waits = []
    monkeypatch.setattr(publish.time, "sleep", waits.append)
    monkeypatch.setattr(publish, "ask", lambda *_: ANSWER)
    for _ in range(3):
        project.program("publish", "--jitter", "5m")
    assert len({*waits}) == 3
    assert all(0 <= each <= 300 for each in waits)


@pytest.mark.skipif(not machine_id(), reason="this machine has no number")
def test_a_catalog_from_another_machine_says_so(published, fleet):
    with closing(sqlite3.connect(published.state / "catalog.db")) as connection, connection:
        connection.execute("UPDATE identity SET machine = 'another'")
    said, now = published.program("publish").out.splitlines()
    (newest, _) = fleet.query("SELECT catalog FROM fleet.hosts ORDER BY published_at DESC")
    assert said == f"this catalog came from another machine: it is published as a host of its own, {newest[0]}"
    assert now == f"published to {fleet.place}: 1 model new or changed, 0 removed"


def test_a_clock_that_is_wrong_is_told(project, monkeypatch):
    project.environ[URL] = "postgresql://db.example/fleet"
    monkeypatch.setattr(publish, "ask", lambda *_: ANSWER | {"clock_skew_seconds": -7200})
    assert project.program("publish").err == (
        "WARNING: the clock here is 7,200 s behind that of the fleet's database: so are the times of verifications "
        "that others see\n"
    )


# ---- a database that does not answer


def test_without_the_extra_the_command_that_adds_it_is_told(published, tmp_path):
    """Hidden by a module of its name that is found first."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "psycopg.py").write_text("raise ImportError('No module named psycopg')\n")
    published.environ["PYTHONPATH"] = str(tmp_path / "hidden")
    answer = published.program("publish", code=1)
    assert answer.err.startswith("ERROR: a fleet's database needs the package psycopg, which is not installed\n")
    assert "model-provisioner[fleet]" in answer.err


def silent(answer, place, seconds):
    assert answer.err == (
        f"ERROR: {TIME_IS_UP}\n"
        f"  where     {place}\n"
        f"  expected  an answer within {seconds} s\n"
        "  found     silence\n"
        "  fix       look whether it is up and in reach, or give it longer: --timeout 5m; what arrived stays, and the rest comes "
        "with the next publish\n"
    )


@pytest.mark.slow
def test_a_peer_that_says_nothing_is_waited_for_no_longer_than_is_said(published, fleet):
    with Silence() as peer:
        fleet.port = peer.port
        published.environ[URL] = fleet.url("host_a")
        began = time.monotonic()
        silent(published.program("publish", "--timeout", "1s", code=2), fleet.place, 1)
        assert time.monotonic() - began < AT_ONCE


@pytest.mark.slow
def test_a_peer_that_falls_silent_while_a_project_is_sent_holds_nobody(published, fleet):
    published.program("retire", "tiny")
    with Partition(fleet.server.port, after=ANSWERED) as way:
        fleet.port = way.port
        published.environ[URL] = fleet.url("host_a")
        silent(published.program("publish", "--timeout", "4s", code=2), fleet.place, 4)
        assert way.cut.is_set()
        assert fleet.query("SELECT state FROM fleet.models") == [("Active",)]
    fleet.port = 0
    published.environ[URL] = fleet.url("host_a")
    published.program("publish")
    assert fleet.query("SELECT state FROM fleet.models") == [("Retired",)]


@pytest.mark.slow
def test_what_arrived_before_the_silence_stays_and_is_counted(project, fleet):
    fleet.make()
    host = Host(fleet, str(project.state))
    for name in "pqr":
        host.put("a", project=f"/{name}")
    with Partition(fleet.server.port, after=ANSWERED, times=2) as way:
        fleet.port = way.port
        project.environ[URL] = fleet.url("host_a")
        answer = project.program("publish", "--timeout", "4s", code=2)
    assert "\n  found     silence, after 1 project had arrived\n" in answer.err
    assert len(fleet.query("SELECT 1 FROM fleet.models")) == 1
    fleet.port = 0
    assert host.publish()["written"] == 2


@pytest.mark.slow
def test_another_run_is_not_delayed_by_a_publication_that_waits(published, fleet):
    published.program("retire", "tiny")
    with Partition(fleet.server.port, after=ANSWERED) as way:
        fleet.port = way.port
        published.environ[URL] = fleet.url("host_a")
        with published.start_program("publish", "--timeout", "30s") as waiting:
            assert way.cut.wait(20)
            began = time.monotonic()
            published.program("retire", "--undo", "tiny")
            published.program("provision")
            assert time.monotonic() - began < AT_ONCE
            assert waiting.poll() is None
            waiting.send_signal(signal.SIGINT)
            _, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, err.decode()) == (
        130,
        "interrupted: what arrived at the fleet's database stays, and the rest comes with the next publish\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_of_a_publication_that_was_ended(published, fleet, number):
    with Silence() as peer:
        fleet.port = peer.port
        published.environ[URL] = fleet.url("host_a")
        with published.start_program("publish", "--timeout", "10m") as waiting:
            wait_until(lambda: children_of(waiting.pid))
            children = children_of(waiting.pid)
            waiting.send_signal(number)
            waiting.communicate(timeout=20)
        wait_until(lambda: not any(map(is_alive, children)), AT_ONCE)


@pytest.mark.slow
def test_the_process_ends_in_time_where_a_copy_of_who_asked_holds_the_pipe(published, fleet):
    reader, writer = os.pipe()
    with Silence() as peer:
        fleet.port = peer.port
        asked = {
            "job": "publish",
            "seconds": 1,
            "pipe": reader,
            "url": fleet.url("host_a"),
            "shown": "x",
            "by_doit": False,
        }
        worker = subprocess.run(
            [sys.executable, "-m", "model_provisioner.operations.fleet.worker"],
            input=json.dumps(asked).encode(), pass_fds=(reader,), capture_output=True, timeout=20,
        )  # fmt: skip
    os.close(reader)
    os.close(writer)
    assert (worker.returncode, worker.stdout) == (-signal.SIGALRM, b"")


def children_of(pid):
    with suppress(FileNotFoundError), open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]
    return []


def is_alive(pid):
    with suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def test_nobody_is_at_that_address(project):
    project.environ[URL] = f"postgresql://me:{PASSWORD}@127.0.0.1:1/fleet"
    answer = project.program("publish", code=2)
    assert answer.err.startswith(
        "ERROR: the fleet's database is out of reach\n  where     postgresql://127.0.0.1:1/fleet\n"
    )
    assert PASSWORD not in answer.all


@pytest.mark.parametrize("option", [f"keepalives={PASSWORD}x", f"no_such={PASSWORD}", f"sslmode={PASSWORD}"])
def test_options_that_libpq_does_not_know_are_refused_without_their_value(project, option):
    project.environ[URL] = f"postgresql://me:{PASSWORD}@127.0.0.1:1/fleet?{option}"
    answer = project.program("publish", "--json", code=None)
    (error,) = document(answer)["errors"]
    assert answer.code in {2, 3}
    assert PASSWORD not in answer.all
    assert error["where"]
