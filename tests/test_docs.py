"""The examples in the documents, run as they stand: in a copy of this project, as a newcomer would type them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from model_provisioner.config.entries import parse_config
from tests.support.project import DODO

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


ENGINES = ROOT / "docs" / "engines.md"
"""Its examples need an engine: tests/test_engines_page.py."""


def examples(kind: str) -> list:
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        if page != ENGINES
        for number, text in enumerate(blocks(page, kind), start=1)
    ]


@pytest.fixture
def copy(tmp_path):
    """What a fresh clone holds of the shipped model."""
    for name in ("models.yaml", "dodo.py", "models"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    os.utime(tmp_path / "models/tiny-llama.gguf", (1e9, 1e9))
    subprocess.run(["sleep", "2.1"], check=True)  # the file is at rest, as it is by the time anybody has installed this
    return tmp_path


def run(command: str, folder: Path, state: Path) -> str:
    """Run a line as a terminal would show it."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_PROVISIONER_STATE_DIR": str(state),
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    ).stdout.decode()


def sessions(page: Path) -> list[tuple[str, str]]:
    """Return the commands of a page's console blocks and what each of them printed."""
    found = []
    for text in blocks(page, "console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page)], ids=lambda page: page.name)
def test_what_a_console_shows_is_what_is_printed(page, copy, tmp_path_factory):
    """`…` stands for what differs from machine to machine, and for lines that are left out."""
    state = tmp_path_factory.mktemp("state")
    for command, printed in sessions(page):
        pattern = re.escape(printed).replace("…", "(?s:.*)")
        found = run(command, copy, state)
        assert re.fullmatch(pattern, found), f"$ {command}\n{found}"


@pytest.mark.parametrize("text", examples("yaml"))
def test_yaml_is_a_configuration_without_faults(text, tmp_path):
    document = yaml.safe_load(text)
    if document is None:
        assert text.startswith("#")
        return
    if "jobs" in document:
        return  # a workflow: see below
    assert parse_config(text.encode(), str(tmp_path / "models.yaml")).entries


@pytest.mark.parametrize("text", examples("json"))
def test_json_is_json(text):
    json.loads(text)


@pytest.mark.parametrize("text", examples("python"))
def test_python_runs(text, copy, tmp_path_factory):
    (copy / "example.py").write_text(text)
    tree = ast.parse(text)
    if any(isinstance(node, ast.FunctionDef) and node.name.startswith("task_") for node in tree.body):
        (copy / "restart-engine").write_text("#!/bin/sh\ncp .runtime/engines/llamacpp.json started\n")
        (copy / "restart-engine").chmod(0o755)
        (copy / "dodo.py").write_text(DODO + text)
        assert ".  serve\n" in run("doit", copy, tmp_path_factory.mktemp("state"))
        assert (copy / "started").exists()
        return
    found = run("python -W error example.py", copy, tmp_path_factory.mktemp("state"))
    assert "Traceback" not in found, found
    if "print" in text:
        path = copy / "models/tiny-llama.gguf"
        digest = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
        assert found == f"local:{path} {path}\nsha256:{'0' * 64} sha256:{digest} {path}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_command_and_every_public_name():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "provision",
        "model-list",
        "model-show",
        "model-why",
        "model-lock",
        "model-check",
        "model-attest",
        "model-prune",
        "model-report",
        "model-retire",
        "model-verify",
        "model-schema",
    ):
        assert f"doit {command}" in text


def recipe() -> list[dict]:
    """Return the steps of the README's workflow."""
    (text,) = [text for text in blocks(ROOT / "README.md", "yaml") if "jobs:" in text]
    assert len(text.splitlines()) == 10
    (job,) = yaml.safe_load(text)["jobs"].values()
    return job["steps"]


def test_the_recipe_for_ci_works_as_written(copy, tmp_path_factory):
    """Two jobs in clean clones at one path; the second has what the first one's cache step kept, and nothing else."""
    home, kept = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("kept")
    clone = tmp_path_factory.mktemp("clone")
    run("doit model-lock", copy, clone.parent / "another state")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MODEL_PROVISIONER", "XDG"))}
    environ |= {"HOME": str(home), "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(clone)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    (folders,) = [
        step["with"]["path"].split() for step in recipe() if step.get("uses", "").startswith("actions/cache@")
    ]
    said = []
    for job in ("first", "second"):
        shutil.rmtree(clone)
        shutil.copytree(copy, clone)
        for step in recipe():
            if "run" in step:
                command = ["bash", "-e", "-c", step["run"]]
                done = subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, check=False)
                assert done.returncode == 0, (step, done)
                said.append(done.stdout)
        assert '<testcase classname="model-check" name="tiny-llama"' in (clone / "model-check.xml").read_text()
        for folder in folders:  # as the cache action does: kept with their modes, under the home of the next job
            name = folder.removeprefix("~/")
            if job == "first" and (home / name).exists():
                shutil.copytree(home / name, kept / name, symlinks=True)
        shutil.rmtree(home)
        shutil.copytree(kept, home)
    first, second = said[0], said[2]
    assert "hashed 105.2 KB (not verified before)" in first
    assert "confirmed by xxh3 105.2 KB" in second
    assert said[1] == said[3] == "1 model: 1 the same; a fresh build would give exactly what is here\n"
