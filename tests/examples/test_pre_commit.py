"""The hook of this repository, run by pre-commit itself."""

import shutil
import subprocess
import sys

import pytest
import yaml

from tests.examples.conftest import EXAMPLES, ROOT


@pytest.fixture
def git(checkout, offline, tmp_path):
    """The project as a repository; `git(…)` runs a command in it."""
    environ = {**offline, "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "pre-commit")}
    environ |= {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ["MODEL_PROVISIONER_STATE_DIR"] = str(checkout.state)
    environ |= {"VIRTUALENV_NO_PERIODIC_UPDATE": "1"}

    def run(*command, code=0, cwd=checkout.root):
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert code in {done.returncode, None}, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "-q")
    run("git", "add", "models.yaml", "models.lock")
    return run


@pytest.fixture
def ours(git, tmp_path):
    """This project as a repository that pre-commit can clone."""
    folder = tmp_path / "ours"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".pre-commit-hooks.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "a release")):
        git("git", *command, cwd=folder)
    return folder


@pytest.mark.slow
def test_a_commit_is_stopped_while_a_fresh_build_would_give_something_else(git, ours, checkout):
    hook = (sys.executable, "-m", "pre_commit", "try-repo", ours, "model-check")
    told = git(*hook, code=1)
    assert "Failed" in told
    assert "1 model: 1 different; a fresh build would not give exactly what is here" in told
    checkout.program("provision")
    assert "Passed" in git(*hook)
    git("git", "rm", "-q", "--cached", "models.yaml", "models.lock")
    (checkout.root / "README").write_text("")
    git("git", "add", "README")
    assert "Skipped" in git(*hook)


def test_the_example_names_a_hook_that_there_is():
    (repository,) = yaml.safe_load((EXAMPLES / "pre-commit/.pre-commit-config.yaml").read_text())["repos"]
    there = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in repository["hooks"]} <= there
