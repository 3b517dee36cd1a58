"""The run and its records: what is asked how often, what a record says after each end, and that nothing stays open."""

import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager

import pytest

from model_provisioner.engine import resolve
from model_provisioner.engine.events import ReadingBegins
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import (
    DigestMismatchError,
    DigestRequiredError,
    ModelNotFoundError,
    NotAllowedError,
    RetiredModelError,
    StorageError,
)
from model_provisioner.fs import fileset
from model_provisioner.hashing import memo
from model_provisioner.plugin import done
from tests.support.project import settle
from tests.support.remote import ONE, REPO

WRONG = "sha256:" + "0" * 64
RECORDS = ("catalog.db", "memo.db", "build.db")


def configure(project, **entries) -> None:
    """Give a project entries; those of which nothing is said have a file of their own."""
    for name, fields in entries.items():
        fields.setdefault("model_ref", f"{name}.bin")
        if fields["model_ref"] == f"{name}.bin":
            project.write(f"{name}.bin", f"model {name}")
    defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
    project.models(json.dumps({"defaults": defaults, "models": entries}))


@pytest.fixture
def begin(project):
    """A function that begins a run over the project."""

    def begin(**options) -> Run:
        return Run(open_workspace(str(project.root / "models.yaml"), state=str(project.state), **options))

    return begin


def provisioned(run: Run, *names: str, workers: int = 1) -> list[str]:
    """Sweep, then take every step for entries; return the names of each batch."""
    run.sweep(names, orphans=True)
    with closing(run.provision(names, workers)) as batches:
        return [" ".join(record.name for record in batch) for batch in batches]


@contextmanager
def calls_of_discover():
    """Count how often files are looked for: by path and by who asks."""
    real, found = fileset.discover, Counter()

    def counted(who):
        def discover(path, **options):
            found[who, os.path.basename(path)] += 1
            return real(path, **options)

        return discover

    with pytest.MonkeyPatch.context() as patch:
        for module in (resolve, fileset, done):
            patch.setattr(module, "discover", counted(module.__name__.rpartition(".")[2]))
        yield found


@contextmanager
def statements():
    """Collect the SQL statements that are executed, by database."""
    real, found = sqlite3.connect, []

    def connect(path, *args, **options):
        connection = real(path, *args, **options)
        name = os.path.basename(str(path).partition("?")[0])
        connection.set_trace_callback(lambda sql: found.append((name, " ".join(sql.split()))))
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield found


def of(found, name: str, *begins: str) -> int:
    return sum(database == name and sql.upper().startswith(begins) for database, sql in found)


# ---- once


def test_a_reference_is_resolved_once_a_run(project, begin):
    configure(project, a={})
    with begin() as run, calls_of_discover() as found:
        provisioned(run, "a")
    assert run.record("a").published
    assert found["resolve", "a.bin"] == 1
    assert found["fileset", "a.bin"] <= 1, "just before the handoff it is asked whether there are other files now"


def test_of_each_part_of_an_entry_too(project, begin, tiny_models):
    lora = (tiny_models / "tiny-llama-lora.gguf").read_bytes()
    project.add_tiny("tiny.gguf")
    project.write("style.gguf", lora)
    project.write("folder/x", "x")
    configure(project, beside={"model_ref": "tiny.gguf", "lora": ["style.gguf"]}, folder={"model_ref": "folder"})
    with begin() as run, calls_of_discover() as found:
        provisioned(run, "beside", "folder")
    assert {who: count for who, count in found.items() if who[0] == "resolve"} == {
        ("resolve", "tiny.gguf"): 1,
        ("resolve", "style.gguf"): 1,
        ("resolve", "folder"): 1,
    }


def test_a_whole_command_looks_for_the_files_of_a_model_once(project):
    configure(project, a={})
    with calls_of_discover() as found:
        project.provision()
    assert found == {("resolve", "a.bin"): 1}


def test_the_records_are_asked_and_written_as_often_for_a_batch_of_many_as_for_one_of_two(project, begin):
    counts = []
    for number in (2, 40):
        names = [f"m{number}-{each}" for each in range(number)]
        configure(project, **{name: {} for name in names})
        settle()
        with statements() as found, begin() as run:
            batches = provisioned(run, *names)
            assert all(run.record(name).published for name in names)
        assert len(batches) == 1
        counts.append({name: (of(found, name, "SELECT"), of(found, name, "BEGIN")) for name in RECORDS})
        print(f"{number} models: SELECT and BEGIN", counts[-1])
    few, many = counts
    for name in RECORDS:
        assert many[name] <= few[name], name
    assert many["catalog.db"][0] <= 8
    assert many["catalog.db"][1] <= 4


def test_a_first_run_of_one_model_takes_few_statements(project, begin):
    configure(project, a={})
    settle()
    with statements() as found, begin() as run:
        provisioned(run, "a")
        run.finish()
    print("a first run of one model:", len(found), Counter(name for name, _ in found))
    # Five bring a new memo from its first form to this one; two make the downloads, three the counters, three the publications.
    assert len(found) <= 98
    assert of(found, "catalog.db", "BEGIN") <= 4


# ---- what a record says


def test_after_success(project, begin):
    configure(project, a={})
    with begin() as run:
        provisioned(run, "a")
        record = run.record("a")
        assert (record.published, record.changed, record.error, record.withdrawn) == (True, True, None, False)
        assert record.verification.how == "hashed"
        assert [reason.text for reason in record.why if not reason.follows] == [
            "not verified before",
            "catalog row missing",
            "handoff missing",
        ]
        assert set(record.artifacts) == {record.entry.handoff, run.work.sha256_target(record.entry)}
        assert run.lost == []
        run.finish()


def test_after_a_run_that_has_nothing_to_do(project, begin):
    configure(project, a={})
    settle()
    with begin() as run:
        provisioned(run, "a")
    with begin() as run:
        run.sweep(["a"], orphans=True)
        record = run.record("a")
        assert record.is_current
        assert (record.why, record.verification, record.withdrawn) == ([], None, False)
        assert all(run.is_done(record, step) for step in ("verify", "register", "handoff"))


def test_after_a_failure(project, begin):
    configure(project, a={})
    settle()
    with begin() as run:
        provisioned(run, "a")
    project.write("a.bin", "other bytes")
    configure_again = json.loads((project.root / "models.yaml").read_text())
    configure_again["models"]["a"]["expected_digest"] = WRONG
    project.models(json.dumps(configure_again))
    with begin() as run:
        provisioned(run, "a")
        record = run.record("a")
        assert isinstance(record.error, DigestMismatchError)
        assert (record.published, record.withdrawn, record.verification) == (False, True, None)
        assert run.lost == [record], "its face tells the error, and what was lost by that"
        for step in ("fetch", "verify", "register", "handoff"):
            with pytest.raises(DigestMismatchError) as raised:
                run.advance(record, step)
            assert raised.value is record.error, "no step is tried again"
            assert not run.is_done(record, step)
        assert run.work.catalog.get(run.work.config.root, "a").lifecycle == "Failed"
    assert not os.path.exists(record.entry.handoff)


@pytest.mark.parametrize(
    ("fields", "rules", "error"),
    [
        ({"model_ref": "nowhere.bin"}, Rules(), ModelNotFoundError),
        ({"expected_digest": WRONG}, Rules(), DigestMismatchError),
        ({}, Rules(require_digest=True), DigestRequiredError),
        ({"model_ref": "hf:org/repo/x.gguf"}, Rules(), NotAllowedError),
    ],
)
@pytest.mark.parametrize("step", ["verify", "handoff"])
def test_each_failure_is_the_records_and_the_others_go_on(project, begin, fields, rules, error, step):
    configure(project, bad=dict(fields), good={})
    with begin(rules=rules) as run:
        provisioned(run, "bad", "good")
        assert isinstance(run.record("bad").error, error)
        good = run.record("good")
        assert good.published or isinstance(good.error, DigestRequiredError)
        with pytest.raises(error):
            run.advance(run.record("bad"), step)


def test_a_tolerated_mismatch_is_no_failure(project, begin):
    configure(project, a={"expected_digest": WRONG, "strict_verification": False})
    with begin() as run:
        provisioned(run, "a")
        record = run.record("a")
        assert (record.published, record.error, record.verification.outcome) == (True, None, "fail")


def test_of_what_is_retired_nothing_is_done(project, begin):
    configure(project, a={}, b={})
    settle()
    with begin() as run:
        provisioned(run, "a", "b")
    project.doit("model-retire", "a")
    project.write("a.bin", "other bytes")
    with begin() as run:
        run.sweep(["a", "b"], orphans=True)
        assert run.retired == {"a"}
        with pytest.raises(RetiredModelError):
            run.provision_one("a")
        assert run.record("a").verification is None
        assert run.lost == [], "what is retired is not lost"
        assert not os.path.exists(run.record("a").entry.handoff)
        assert run.record("b").is_current


def test_what_the_sweep_withdraws_is_lost_until_it_is_handed_off_again(project, begin):
    configure(project, a={}, b={}, c={})
    settle()
    with begin() as run:
        provisioned(run, "a", "b", "c")
    for name in "ab":
        project.write(f"{name}.bin", f"the other {name}")
    with begin() as run:
        run.sweep(["a", "b", "c"], orphans=True)
        assert [record.name for record in run.lost] == ["a", "b"]
        assert [os.path.exists(run.record(name).entry.handoff) for name in "abc"] == [False, False, True]
        rows = {name: run.work.catalog.get(run.work.config.root, name).lifecycle for name in "abc"}
        assert rows == {"a": "Pending", "b": "Pending", "c": "Active"}
        list(run.provision(["a"], 1))
        assert [record.name for record in run.lost] == ["b"]
        assert (run.record("a").published, run.record("a").withdrawn) == (True, False)
        assert [reason.text for reason in run.record("a").why if not reason.follows][0].startswith("size ")


def test_the_sweep_removes_what_no_entry_claims_and_says_so(project, begin):
    configure(project, a={}, b={})
    with begin() as run:
        provisioned(run, "a", "b")
        gone = run.record("b").entry.handoff
    configure(project, a={})
    with begin() as run:
        run.sweep(["a"], orphans=True)
        assert gone in run.orphans
        assert run.trouble == []
    assert not os.path.exists(gone)


def test_steps_one_by_one_come_to_the_same_as_the_batch(project, begin):
    configure(project, a={}, b={})
    with begin() as run:
        run.sweep(["a", "b"], orphans=True)
        for step in ("fetch", "verify", "register", "handoff"):
            assert not os.path.exists(run.record("a").entry.handoff)
            run.advance(run.record("a"), step)
        list(run.provision(["b"], 1))
        rows = [run.work.catalog.get(run.work.config.root, name) for name in "ab"]
        assert [row.lifecycle for row in rows] == ["Active", "Active"]
        assert [run.record(name).published for name in "ab"] == [True, True]
    assert [line["how"] for line in project.provenance()] == ["hashed", "hashed"]


def test_the_last_step_takes_those_before_it_and_none_twice(project, begin, monkeypatch):
    configure(project, a={})
    seen = []
    monkeypatch.setattr(memo, "hash_both", lambda fd, *rest, real=memo.hash_both: seen.append(fd) or real(fd, *rest))
    with begin() as run:
        record = run.record("a")
        run.advance(record, "handoff")
        for step in ("verify", "register", "handoff"):
            run.advance(record, step)
    assert record.published
    assert len(seen) == 1, "it is not at rest: who verified it again would have read it"


def test_a_fetched_entry_says_where_its_files_came_from(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in remote.environ.items():
            patch.setenv(name, value)
        with Run(open_workspace(str(remote.root / "models.yaml"), state=str(remote.project.state))) as run:
            provisioned(run, "tiny")
            record = run.record("tiny")
            assert (record.published, record.error) == (True, None)
            assert record.origin == "fetched from 127.0.0.1"
            assert record.verification.how == "hashed"
            run.finish()
    assert len(hub.asked("GET", "*/resolve/*")) == 1


# ---- closed, however it ends


def open_files() -> list[str]:
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def ends_well(run: Run) -> None:
    provisioned(run, "a", "b")
    run.finish()


def fails_in_the_middle(run: Run) -> None:
    def progress(event) -> None:
        if isinstance(event, ReadingBegins):
            raise KeyboardInterrupt

    run.work.progress = progress
    provisioned(run, "a", "b")


def is_left_between_two_batches(run: Run) -> None:
    run.sweep(["a", "b"], orphans=True)
    with closing(run.provision(["a", "b"], 2)) as batches:
        next(batches)
        raise RuntimeError


def has_no_state_folder(run: Run) -> None:
    shutil.rmtree(run.work.state)
    with open(run.work.state, "w") as file:
        file.write("no folder")
    provisioned(run, "a", "b")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (ends_well, None),
        (fails_in_the_middle, KeyboardInterrupt),
        (is_left_between_two_batches, RuntimeError),
        (has_no_state_folder, StorageError),
    ],
    ids=lambda value: getattr(value, "__name__", "nothing"),
)
def test_a_run_leaves_nothing_open_however_it_ends(project, begin, what, error):
    configure(project, a={}, b={})
    for name in "ab":
        project.write(f"{name}.bin", bytes((2 << 20) + ord(name)))
    run = begin()
    if error is None:
        with run:
            what(run)
    else:
        with pytest.raises(error), run:
            what(run)
    assert [path for path in open_files() if path.startswith(str(project.root.parent))] == []


def test_a_run_that_was_closed_can_be_used_again(project, begin):
    configure(project, a={})
    run = begin()
    with run:
        provisioned(run, "a")
    assert run.work.catalog.get(run.work.config.root, "a").lifecycle == "Active"
    run.close()
    assert [path for path in open_files() if path.startswith(str(project.root.parent))] == []
