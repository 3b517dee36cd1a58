"""The short way, through doit's command line: when it is taken, and when it must not be."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from model_provisioner.cli.progress.lines import LONG_BYTES
from model_provisioner.engine import run
from model_provisioner.engine.workspace import open_workspace
from tests.support.project import DODO, settle, settle_in_every_process
from tests.support.slow_disk import SlowDisk

HANDOFF = '"{runtime_dir}/engines/{name}.json"'


@pytest.fixture
def current(project):
    """A project of two models, after a run."""
    text = f"defaults: {{handoff: {HANDOFF}}}\nmodels:\n"
    for name in "ab":
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}: {{model_ref: {name}.gguf}}\n"
    project.models(text)
    settle()
    project.provision()
    return project


def took_the_short_way(project, *args):
    """Tell whether a run came out well and had no need of the configuration."""
    project.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        answer = project.process("provision", *args, code=None)
    finally:
        del project.environ["PYTHONPROFILEIMPORTTIME"]
    imported = {line.rpartition("|")[2].strip() for line in answer.err.splitlines()}
    assert "model_provisioner.engine.snapshot.compare" in imported
    return answer.code == 0 and "model_provisioner.engine.workspace" not in imported


def test_a_run_with_nothing_to_do_is_short(current):
    assert took_the_short_way(current)
    assert "2 models: 2 current" in current.provision().out
    current.provision("-o", "report")
    assert "2 models: 2 current" in (current.root / "report").read_text()


def test_a_run_with_nothing_to_do_imports_little(current):
    """Without dodo.py: what another way than the short one needs costs more than all that is left."""
    environ = {**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(current.state)}
    command = [sys.executable, "-X", "importtime", "-m", "doit", "provision"]
    run = subprocess.run(command, cwd=current.root, env=environ, capture_output=True, text=True, check=True)
    assert "2 models: 2 current" in run.stdout
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "model_provisioner.engine.snapshot.compare" in imported
    assert not imported & {
        "pydantic",
        "yaml",
        "tqdm",
        "rich",
        "model_provisioner.config.load",
        "model_provisioner.config.reader",
        "model_provisioner.headers.gguf",
    }


@pytest.mark.parametrize("options", [["--full"], ["--require-digest"], ["a"], ["-r", "console"], ["-a"]])
def test_other_runs_are_not(current, options):
    assert not took_the_short_way(current, *options)


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: os.utime(p.root / "a.gguf"),
        lambda p: (p.root / "a.gguf").unlink(),
        lambda p: (p.root / ".runtime/engines/a.json").unlink(),
        lambda p: p.write(".runtime/engines/a.json", "edited"),
        lambda p: (p.root / ".runtime/digests/a.sha256").unlink(),
        lambda p: p.models((p.root / "models.yaml").read_text() + "# comment\n"),
        lambda p: (p.state / "catalog.db").unlink(),
        lambda p: (p.state / "memo.db").unlink(),
        lambda p: (p.state / "memo.db").write_bytes((p.state / "memo.db").read_bytes()[:100]),
        lambda p: [path.unlink() for path in p.state.glob("projects/*/build.db")],
        lambda p: [path.unlink() for path in p.state.glob("projects/*/doit.db")],
        lambda p: [path.unlink() for path in p.state.glob("projects/*/snapshot")],
        lambda p: [path.write_bytes(b"x") for path in p.state.glob("projects/*/snapshot")],
        lambda p: p.environ.update(MODEL_PROVISIONER_CACHE_DIR="/elsewhere"),
        lambda p: p.doit("forget", "--all"),
    ],
)
def test_whatever_moves_ends_it_and_the_run_after_is_short_again(current, edit):
    current.write("pyproject.toml", '[tool.doit]\nloader = "models"\n')
    current.provision()
    assert took_the_short_way(current)
    edit(current)
    assert not took_the_short_way(current)
    settle()
    current.provision(code=None)
    if (current.root / "a.gguf").exists():
        current.provision()
        assert took_the_short_way(current)


def test_only_what_moved_is_done(current):
    os.utime(current.root / "a.gguf", (1e9, 1e9))
    settle()
    answer = current.provision()
    assert "2 models: 1 done, 1 current" in answer.out
    assert "  b  " not in answer.out
    assert took_the_short_way(current)


def test_a_failing_model_is_told_on_every_run(current):
    current.write("a.gguf", b"broken")
    for _ in range(2):
        assert "2 models: 1 current, 1 failed" in current.provision(code=1).out


def test_tasks_of_the_project_that_need_an_omitted_one_do_not_stumble(current):
    current.write(
        "dodo.py",
        DODO
        + "def task_after():\n    return {'actions': ['touch after'], 'task_dep': ['models:handoff:a']}\n"
        + "def task_later():\n    return {'actions': ['touch later'], 'task_dep': ['after']}\n"
        + "def task_report():\n    return {'actions': ['touch report'], 'file_dep': ['.runtime/engines/a.json']}\n",
    )
    current.provision()
    assert "2 models: 2 current" in current.provision().out
    assert not (current.root / "after").exists()
    current.doit("run", "later", "report")
    assert (current.root / "later").exists()


def test_a_state_folder_that_others_may_write_is_not_believed(current):
    os.chmod(current.state, 0o777)
    current.provision(code=2)
    assert current.handoff("a") is None


@pytest.fixture
def reading(current):
    """A run of `current`, with a third model that it reads: a and b were found current, and their policy was read.

    Return what lets it come to its end.
    """
    with open(current.root / "large.bin", "wb") as file:
        file.truncate(LONG_BYTES)
    current.models((current.root / "models.yaml").read_text() + "  large: {model_ref: large.bin}\n")
    settle_in_every_process()
    disk = SlowDisk(current, 1)

    def end():
        disk.be_fast()
        assert run.wait(timeout=60) == 0

    with current.start("provision") as run:
        assert run.stderr.readline() == b"reading large, 268.4 MB\n"
        yield end


def lock_a(project):
    sha256 = hashlib.sha256((project.root / "a.gguf").read_bytes()).hexdigest()
    file = {"path": "a.gguf", "size": (project.root / "a.gguf").stat().st_size, "sha256": sha256}
    locked = {"version": 1, "models": {"a": {"ref": "file:a.gguf", "kind": "file", "files": [file]}}}
    project.write("models.lock", json.dumps(locked))


def test_a_lock_that_is_written_when_the_snapshot_was_compared_is_met(current, monkeypatch):
    os.utime(current.root / "b.gguf")  # something is to be done: the configuration is read after the snapshot

    def late(*args, **named):
        lock_a(current)
        return open_workspace(*args, **named)

    monkeypatch.setattr(run, "open_workspace", late)
    current.provision()
    assert current.handoff("a")["metadata"]["verification"] == "pass"


@pytest.mark.slow
def test_a_lock_that_was_written_while_a_run_was_at_work_is_met_by_the_next_run(current, reading):
    lock_a(current)
    reading()
    assert current.handoff("a")["metadata"]["verification"] == "warn"
    current.provision()
    assert current.handoff("a")["metadata"]["verification"] == "pass"


@pytest.mark.slow
def test_a_model_that_was_retired_while_a_run_was_at_work_is_retired_for_the_next_run(current, reading):
    current.process("model-retire", "a")
    reading()
    assert "3 models: 2 current, 1 retired" in current.process("provision").out
    assert current.handoff("a") is None
