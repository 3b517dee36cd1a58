"""Where projects and their files lie: a checkout that nobody can write, caches that were restored, locks that fail."""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest

from tests.support.project import DODO, TINY, read_only, settle, settle_in_every_process
from tests.support.users import User, commons

MIB = 1 << 20


# ---- a read-only checkout


@pytest.fixture
def checkout(project, monkeypatch, tmp_path):
    """A project that only the user's own folders are written for."""
    project.add_tiny()
    project.models("models: {tiny: {model_ref: 'file:models/tiny.gguf'}}")
    project.write("dodo.py", DODO)
    settle_in_every_process()
    monkeypatch.setenv("MODEL_PROVISIONER_RUNTIME_DIR", str(tmp_path / "served"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return project


@pytest.mark.slow
def test_a_read_only_checkout_is_served(checkout, tmp_path):
    before = sorted(path for path in checkout.root.rglob("*"))

    def run(*command):
        return checkout.mounted(read_only(checkout.root), *command)

    code, said = run("provision")
    assert (code, "1 model: 1 done" in said) == (0, True), said
    handoff = tmp_path / "served/engines/llamacpp.json"
    assert json.loads(handoff.read_text())["model"]["path"] == str(checkout.root / "models/tiny.gguf")
    assert (tmp_path / "served/digests/tiny.sha256").exists()
    code, said = run("provision")
    assert (code, "1 model: 1 current" in said) == (0, True), said
    for command in (["run"], ["model-list"], ["model-why"], ["model-verify", "--full"], ["model-retire", "tiny"]):
        code, said = run(*command)
        assert code == 0, said
    assert not handoff.exists()
    code, said = run("model-retire", "--undo", "tiny")
    assert code == 0, said
    code, said = run("provision")
    assert (code, handoff.exists()) == (0, True), said
    assert sorted(path for path in checkout.root.rglob("*")) == before


@pytest.mark.slow
def test_a_read_only_checkout_without_a_place_of_its_own_names_the_setting(checkout, monkeypatch):
    monkeypatch.delenv("MODEL_PROVISIONER_RUNTIME_DIR")
    code, said = checkout.mounted(read_only(checkout.root), "provision")
    assert code == 2
    assert "Read-only file system" in said
    assert "MODEL_PROVISIONER_RUNTIME_DIR" in said


# ---- restored caches


@pytest.fixture
def restored(project):
    """A project of which a cache of a CI has the models and the state: all its files are others, and new."""
    sizes = {"c": 5, "a": 9, "d": 3, "b": 7}
    for name, size in sizes.items():
        project.write(f"models/{name}.bin", random.Random(name).randbytes(size * MIB))
    entries = {name: {"model_ref": f"file:models/{name}.bin"} for name in sizes}
    project.models(json.dumps({"defaults": {"handoff": "{runtime_dir}/{name}.json"}, "models": entries}))
    settle_in_every_process()
    project.provision()
    for folder in (project.root / "models", project.state):
        shutil.copytree(folder, kept := folder.with_name("kept"))
        shutil.rmtree(folder)
        os.rename(kept, folder)
    for path in (project.root / "models").iterdir():
        os.utime(path)
    settle_in_every_process()
    shutil.rmtree(project.root / ".runtime")
    return project


@pytest.mark.slow
def test_restored_caches_are_fingerprinted_once_the_largest_first(restored):
    lines = restored.provision("-n", "1").out.splitlines()
    assert [line.split()[1] for line in lines if " confirmed by xxh3 " in line] == ["a", "b", "c", "d"]
    assert lines[-1].startswith("4 models: 4 done (")
    assert "4 models: 4 current" in restored.provision().out
    assert "confirmed" not in restored.doit("model-why").out


# ---- locks


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 4, 6, 8, 10, 12, 14, 17, 20])
def test_a_lock_that_fails_once_is_told_and_the_next_run_heals_it(remote, hub, number):
    hub.add("org/repo", {"tiny.gguf": TINY.read_bytes()})
    remote.models({"tiny": "hf:org/repo/tiny.gguf"})
    remote.project.write("dodo.py", DODO)
    strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=flock",
        "-e",
        f"inject=flock:error=EIO:when={number}",
    ]
    for command in (["provision"], ["run"], ["model-verify", "--full"]):
        run = subprocess.run(
            [*strace, sys.executable, "-m", "doit", *command],
            cwd=remote.project.root,
            env=remote.project.surroundings(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = run.stdout + run.stderr
        assert "Traceback" not in said
        assert run.returncode in (0, 1, 2, 3)
        assert run.returncode == 0 or "Input/output error" in said
        remote.project.provision()
        assert remote.project.handoff("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["locks", "locks/hash", "."])
def test_locks_that_can_not_be_reached_are_told(closed):
    with commons() as folder:
        user = User.at(folder / "home", 40_001)
        (root := folder / "home/project").mkdir()
        shutil.copy(TINY, root / "tiny.gguf")
        (root / "models.yaml").write_text("models: {tiny: {model_ref: tiny.gguf}}")
        user.owns(root, *root.iterdir())
        assert user.doit("provision", cwd=root).code == 0
        os.utime(root / "tiny.gguf")
        place = user.state / closed
        place.chmod(0)
        told = []
        for command in (["provision"], ["model-verify", "--full"], ["model-lock"], ["model-retire", "tiny"]):
            answer = user.doit(*command, cwd=root)  # which asserts that there is no traceback
            assert (answer.code, "Permission denied" in answer.all) in {(0, False), (2, True)}, (command, answer)
            told.append(answer.code)
        assert 2 in told
        place.chmod(0o700)
        user.doit("model-retire", "--undo", "tiny", cwd=root)
        assert user.doit("provision", cwd=root).code == 0
