"""The examples in the documents, run as they stand: in a copy of this project, as a newcomer would type them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from doit.cmd_run import Run
from doit.doit_cmd import DoitMain

import model_provisioner
from model_provisioner.cli import declarations
from model_provisioner.config.load import parse_config
from model_provisioner.engine import events
from model_provisioner.version import __version__
from tests.support.github_runner import Runner, clean
from tests.support.hub import Hub
from tests.support.project import DODO

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md", *(ROOT / "docs").rglob("*.md")]
)
FLAGS = re.MULTILINE | re.DOTALL
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', FLAGS)
GUIDES = ROOT / "docs" / "guides"
ENGINES = GUIDES / "engines.md"
"""Its examples need an engine: tests/test_engines_page.py."""
REMOTE = GUIDES / "remote-models.md"
"""Its console is shown against a Hub on this machine."""
PYTHON = GUIDES / "python.md"
"""Its programs run one after the other, beside such a Hub."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, _, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


def examples(kind: str) -> list:
    return [
        pytest.param(text, id=f"{name_of(page)}-{number}")
        for page in PAGES
        if page not in (ENGINES, PYTHON)
        for number, text in enumerate(blocks(page, kind), start=1)
    ]


@pytest.fixture(scope="session")
def clones(tmp_path_factory):
    """Folders with what a fresh clone holds of the shipped model, at rest, as it is by the time anybody has installed this."""
    folders = [tmp_path_factory.mktemp("clone") for _ in PAGES]
    for folder in folders:
        for name in ("models.yaml", "dodo.py", "models"):
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
        os.utime(folder / "models/tiny-llama.gguf", (1e9, 1e9))
    subprocess.run(["sleep", "2.1"], check=True)
    return iter(folders)


@pytest.fixture
def copy(clones):
    return next(clones)


def run(command: str, folder: Path, state: Path, **more: str) -> str:
    """Run a line as a terminal would show it."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_PROVISIONER_STATE_DIR": str(state),
        **more,
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    ).stdout.decode()


@dataclass(frozen=True)
class Command:
    """A line of a console block, and what it printed."""

    line: str
    printed: str


@dataclass(frozen=True)
class File:
    """A block with a title: the reader writes it into that file."""

    name: str
    text: str


def session(page: Path) -> list[Command | File]:
    """Return what a reader of the page does, in its order."""
    found: list[Command | File] = []
    for kind, title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            found.append(File(title, text))
        elif kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, printed = part.partition("\n")
                found.append(Command(line, printed))
    return found


def play(page: Path, folder: Path, state: Path, **environ: str) -> None:
    """Do what the page says; `…` is for what differs from machine to machine, and for lines that are left out."""
    for step in session(page):
        if isinstance(step, File):
            (folder / step.name).write_text(step.text, encoding="utf-8")
            continue
        pattern = re.escape(step.printed).replace("…", "(?s:.*)")
        found = run(step.line, folder, state, **environ)
        assert re.fullmatch(pattern, found), f"$ {step.line}\n{found}"


PLAYED = [page for page in PAGES if page != REMOTE and any(isinstance(step, Command) for step in session(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PLAYED, ids=name_of)
def test_what_a_console_shows_is_what_is_printed(page, copy, tmp_path_factory):
    play(page, copy, tmp_path_factory.mktemp("state"))


def hub_with(ref: str, copy: Path) -> Hub:
    """Return a Hub that has the shipped model as the file of a reference."""
    _, organisation, name, path = re.split("[:/]", ref)
    hub = Hub()
    hub.add(f"{organisation}/{name}", {path: (copy / "models/tiny-llama.gguf").read_bytes()})
    return hub


@pytest.mark.slow
def test_the_guide_to_remote_models_works_as_written(copy, tmp_path_factory):
    """Against a Hub on this machine, which another line of the environment names."""
    (text,) = [step.text for step in session(REMOTE) if isinstance(step, File)]
    (entry,) = yaml.safe_load(text)["models"].values()
    outside = tmp_path_factory.mktemp("outside")
    with hub_with(entry["model_ref"], copy) as hub:
        local = tmp_path_factory.mktemp("page") / "page.md"
        local.write_text(REMOTE.read_text(encoding="utf-8").replace("allow: [huggingface]", 'allow: ["127.0.0.1"]', 1))
        environ = {**hub.environ(outside), "MODEL_PROVISIONER_CACHE_DIR": str(outside / "cache")}
        play(local, copy, outside / "state", **environ)


@pytest.mark.parametrize("text", examples("yaml"))
def test_yaml_is_a_configuration_without_faults(text, tmp_path):
    document = yaml.safe_load(text)
    if document is None:
        assert text.startswith("#")
        return
    if "jobs" in document or "repos" in document:
        return  # a workflow, see below; hooks of pre-commit, see tests/examples
    assert parse_config(text.encode(), str(tmp_path / "models.yaml")).entries


@pytest.mark.parametrize("text", examples("json"))
def test_json_is_json(text):
    json.loads(text)


@pytest.mark.parametrize("text", examples("python"))
def test_python_runs(text, copy, tmp_path_factory):
    tree = ast.parse(text)
    if any(isinstance(node, ast.FunctionDef) and node.name.startswith("task_") for node in tree.body):
        (copy / "restart-engine").write_text("#!/bin/sh\ncp .runtime/engines/llamacpp.json started\n")
        (copy / "restart-engine").chmod(0o755)
        (copy / "dodo.py").write_text(DODO + text)
        assert ".  serve\n" in run("doit", copy, tmp_path_factory.mktemp("state"))
        assert (copy / "started").exists()
        return
    (copy / "example.py").write_text(text)
    found = run("python -W error example.py", copy, tmp_path_factory.mktemp("state"))
    assert "Traceback" not in found, found


@pytest.mark.slow
def test_the_programs_of_the_guide_to_python_print_what_it_says(copy, tmp_path_factory):
    """Each as a script of its own; a notebook has the last one's line at the end for its output, and warns of nothing either."""
    page = PYTHON.read_text(encoding="utf-8").replace('allow=["huggingface"]', 'allow=["127.0.0.1"]')
    steps = [
        (text, printed)
        for text, _, printed in re.findall(r"^```python\n(.*?)^```\n(\n```text\n(.*?)^```)?", page, FLAGS)
    ]
    assert len(steps) == page.count("```python") == 8
    outside = tmp_path_factory.mktemp("outside")
    (copy / "models/tiny-llama-copy.gguf").write_bytes((copy / "models/tiny-llama.gguf").read_bytes())
    (ref,) = set(re.findall(r'"(hf:bartowski.*?)"', page))
    with hub_with(ref, copy) as hub:
        environ = {**hub.environ(outside), "MODEL_PROVISIONER_CACHE_DIR": str(outside / "cache")}
        for text, printed in steps:
            (copy / "example.py").write_text(text)
            found = run("python -W error example.py 2>errors || cat errors", copy, outside / "state", **environ)
            assert re.fullmatch(re.escape(printed).replace("…", ".*"), found), f"{text}\n{found}"


def test_the_reference_of_python_has_every_public_name():
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    assert [name for name in model_provisioner.__all__ if f"`{name}" not in text] == []
    results = (model_provisioner.ResolvedModel, model_provisioner.ModelResult, model_provisioner.ProvisionResult)
    kinds = [kind for name, kind in vars(events).items() if name in model_provisioner.__all__ and is_dataclass(kind)]
    for kind in (*results, *kinds):
        assert [each.name for each in fields(kind) if f"`{each.name}`" not in text] == [], kind


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


DOITS = {command.get_name() for command in DoitMain.DOIT_CMDS}
COMMANDS = sorted(
    (each for each in entry_points(group="doit.COMMAND") if each.name not in DOITS), key=lambda each: each.name
)


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in declarations.COMMANDS if f"`{name}" not in text] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_the_page_of_commands_has_every_option_of_ours(command):
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    (section,) = [
        part
        for part in re.split(r"^## ", text, flags=re.MULTILINE)
        if f"`doit {command.name}" in part.partition("\n")[0]
    ]
    of_doit = {option["name"] for option in Run.cmd_options}
    options = [f"--{option['long']}" for option in command.load().cmd_options if option["name"] not in of_doit]
    assert [option for option in options if option not in section] == []


def test_the_readme_can_be_read_in_a_few_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def shown(part: ast.expr) -> str:
    """Return a part of an f-string as the FAQ writes it: `…` for what is filled in."""
    match part:
        case ast.Constant(value):
            return str(value)
        case ast.FormattedValue(ast.Name("CONFIG_NAME")):
            return "models.yaml"
        case ast.FormattedValue(_, 114):  # !r
            return "'…'"
    return "…"


def texts() -> Iterator[str]:
    """Yield all texts that stand in the program."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(map(shown, node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_of_the_faq_is_one_that_the_program_prints():
    rows = re.findall(r"^\| (`.+?`) \|", (ROOT / "docs/faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = [message for row in rows for message in row.strip("`").split("`, `")]
    assert len(told) > 50
    program = re.sub(r"\{\w*\}", "", "\n\n".join(texts()))
    assert [message for message in told if message not in program] == []


OF_TODAY = [page for page in PAGES if page.parent.name != "adr"]
"""The pages that follow the program; a decision keeps the names that it was written with."""


@pytest.mark.parametrize("page", OF_TODAY, ids=name_of)
def test_modules_that_a_page_names_exist(page):
    places = [ROOT, ROOT / "src/model_provisioner", ROOT / "scripts", ROOT / "tests/security", ROOT / "examples"]
    named = re.findall(r"`([\w./]+\.py|[a-z_]+/)`", page.read_text(encoding="utf-8"))
    made = {
        "dodo.py",
        "partial/",
        "quarantine/",
        "refs/",
        "locks/",
        "leases/",
        "x/",
        "dist/",
    }  # of a project, of a store, of a build
    assert [each for each in named if each not in made and not any((place / each).exists() for place in places)] == []


def test_every_page_is_in_the_site():
    """What `mkdocs build --strict` checks in CI, for who has not installed it."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert [page for page in pages if not re.search(rf" {re.escape(page)}$", text, re.MULTILINE)] == []


def recipe() -> list[dict]:
    """Return the steps of the guide's workflow that needs no action of ours."""
    (text,) = [text for text in blocks(GUIDES / "ci.md", "yaml") if "actions/cache" in text]
    assert len(text.splitlines()) <= 11
    (job,) = yaml.safe_load(text)["jobs"].values()
    return job["steps"]


@pytest.fixture
def runner(copy, tmp_path):
    """A runner on which this is installed, with a checkout of the shipped project and its lock."""
    run("doit model-lock", copy, tmp_path / "another state")
    environ = {**clean(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return Runner(copy, tmp_path / "runner", environ)


@pytest.mark.slow
def test_the_recipe_for_ci_works_as_written(runner, copy):
    """Two jobs; the second has what the first one's cache step kept, and nothing else."""
    first = runner.run(recipe())
    assert "hashed 105.2 KB (not verified before)" in first.log
    shutil.rmtree(copy / ".runtime")
    (copy / "models/tiny-llama.gguf").touch()  # the files of a new checkout have new times
    second = runner.run(recipe())
    assert "confirmed by xxh3 105.2 KB" in second.log
    for job in (first, second):
        assert not job.failed, job.log
        assert "1 model: 1 the same; a fresh build would give exactly what is here\n" in job.log
    for report in ("provision.xml", "model-check.xml"):
        assert 'name="tiny-llama"' in (copy / report).read_text()


@pytest.mark.slow
def test_the_recipe_for_ci_reports_also_when_a_model_can_not_be_provisioned(runner, copy):
    path = copy / "models/tiny-llama.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    job = runner.run(recipe())
    assert job.failed
    assert len(re.findall(r"^::error file=models\.yaml,line=\d+,title=", job.log, re.MULTILINE)) >= 2, job.log
    for report in ("provision.xml", "model-check.xml"):
        assert "<failure" in (copy / report).read_text()


def test_the_guide_uses_the_action_and_the_hook_as_they_are():
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    texts = [yaml.safe_load(text) for text in blocks(GUIDES / "ci.md", "yaml")]
    (use,) = [
        step
        for text in texts
        for job in text.get("jobs", {}).values()
        for step in job["steps"]
        if "/model-provisioner@" in step.get("uses", "")
    ]
    assert set(use["with"]) <= set(action["inputs"])
    page = (GUIDES / "ci.md").read_text(encoding="utf-8")
    assert [name for name in (*action["inputs"], *action["outputs"]) if f"`{name}`" not in page] == []
    (named,) = [hook["id"] for text in texts for each in text.get("repos", ()) for hook in each["hooks"]]
    assert named in {
        hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    }


def test_a_release_is_named_alike_wherever_it_is_named():
    (first, second) = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[
        :2
    ]
    assert (first, second) == ("Unreleased", __version__)
    users = [path for path in (ROOT / "examples").rglob("*") if path.is_file()] + [GUIDES / "ci.md"]
    named = {
        name for path in users for name in re.findall(r"(?:@v|rev: v|==)([\d.]+\d)", path.read_text(encoding="utf-8"))
    }
    assert named - {"4"} == {__version__}, "of actions of GitHub's own it is the major version"
