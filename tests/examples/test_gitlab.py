"""GitLab's form: its scripts, run as a runner runs them, with a cache that holds folders of the checkout alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.examples.conftest import EXAMPLES
from tests.support.hub import Hub
from tests.support.project import TINY

BOTH = """network: {allow: ['127.0.0.1']}
defaults: {handoff: '{runtime_dir}/engines/{name}.json'}
models: {tiny: {model_ref: 'file:models/tiny.gguf'}, far: {model_ref: 'hf:org/tiny/tiny.gguf'}}
"""
JOB = yaml.safe_load((EXAMPLES / "gitlab/.gitlab-ci.yml").read_text())["models"]


class Gitlab:
    """A runner whose every job has a new machine, and the cache of the job before."""

    def __init__(self, checkout: Path, folder: Path, environ: dict[str, str]) -> None:
        self.checkout, self.folder, self.environ = checkout, folder, environ
        self.said = ""

    def run(self) -> int:
        machine = self.folder / "machine"
        shutil.rmtree(machine, ignore_errors=True)
        machine.mkdir()
        build = machine / "build"
        shutil.copytree(self.checkout, build)
        environ = {
            **self.environ,
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_PROJECT_DIR": str(build),
            "HOME": str(machine),
        }
        for name, value in JOB["variables"].items():  # the one folder of the machine that the job names is below ours
            text = value.replace("$CI_PROJECT_DIR", str(build))
            environ[name] = text if text.startswith(str(build)) else f"{machine}{text}"
        kept = self.folder / "cache"
        if kept.exists():
            shutil.copytree(kept, build, dirs_exist_ok=True, symlinks=True)
            for each in (build / ".cache").rglob("*"):  # with the runner's umask, whatever the modes were
                if not each.is_symlink():
                    each.chmod(0o777 if each.is_dir() else 0o666)
        code = self._bash([*JOB["before_script"], *JOB["script"]], build, environ)
        self._bash(JOB["after_script"], build, environ)
        if code == 0:
            shutil.rmtree(kept, ignore_errors=True)
            for name in filter(lambda each: (build / each).exists(), JOB["cache"]["paths"]):
                shutil.copytree(build / name, kept / name, symlinks=True)
        self.build = build
        return code

    def _bash(self, lines: list[str], build: Path, environ: dict[str, str]) -> int:
        script = "\n".join(["umask 0000", *lines])  # which GitLab sets in containers
        command = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=build, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        self.said = f"{self.said}{done.stdout}" if lines is JOB["after_script"] else done.stdout
        return done.returncode


@pytest.fixture
def hub():
    with Hub() as hub:
        hub.add("org/tiny", {"tiny.gguf": TINY.read_bytes()})
        yield hub


@pytest.fixture
def gitlab(checkout, offline, hub, tmp_path):
    """A job of a project with a model of its own and a fetched one."""
    checkout.models(BOTH)
    hub_there = hub.environ(tmp_path / "outside")
    checkout.environ.update(hub_there)
    checkout.program("lock")
    return Gitlab(checkout.root, tmp_path, {**offline, "HF_ENDPOINT": hub_there["HF_ENDPOINT"]})


@pytest.mark.slow
def test_state_and_store_go_through_the_cache_and_nothing_is_fetched_twice(gitlab, hub):
    assert gitlab.run() == 0, gitlab.said
    assert "tiny  hashed 105.2 KB (not verified before)" in gitlab.said
    assert "far  hashed 105.2 KB (fetched from 127.0.0.1)" in gitlab.said
    hub.forget()
    assert gitlab.run() == 0, gitlab.said
    assert "tiny  confirmed by xxh3 105.2 KB" in gitlab.said
    assert "far  hashed 105.2 KB" in gitlab.said, "GitLab's zip makes a file of its own of each hard link of the store"
    assert gitlab.run() == 0, gitlab.said
    assert "far  confirmed by xxh3 105.2 KB" in gitlab.said
    assert hub.requests == []


@pytest.mark.slow
def test_a_model_that_fails_fails_the_job_and_both_reports_are_there(gitlab):
    path = gitlab.checkout / "models/tiny.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert gitlab.run() == 1, gitlab.said
    for name in JOB["artifacts"]["reports"]["junit"]:
        assert re.search(r'<testcase [^>]*name="tiny"', (gitlab.build / name).read_text())
    assert not (gitlab.folder / "cache").exists()
    assert JOB["artifacts"]["when"] == "always"


def test_the_cache_holds_nothing_outside_the_checkout():
    assert [path for path in JOB["cache"]["paths"] if os.path.isabs(path) or path.startswith("~")] == []
