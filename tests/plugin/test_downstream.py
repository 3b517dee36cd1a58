"""A task that uses a model: done again when, and only when, an engine would load something else."""

import os
import shutil

import pytest

from tests.support.project import TINY, settle

DODO = """
from model_provisioner.plugin import DOIT_CONFIG, same_model, task_models

def task_serve():
    return {"uptodate": [same_model("tiny")], "actions": ["echo served >> served"]}
"""
SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
ENTRY = {"model_ref": "models/tiny.gguf"}


def write(project, **fields):
    entry = {**ENTRY, **fields}
    written = "".join(f"    {name}: {value}\n" for name, value in entry.items())
    project.models(f"models:\n  tiny:\n{written}")


@pytest.fixture(params=["provision serve", "provision", "serve"])
def served(project, request):
    """A project that was served once, by plain doit or by ours, and the command that serves it."""
    project.add_tiny()
    write(project)
    settle()
    project.write("dodo.py", DODO)
    serve(project, command := request.param.split())
    assert times(project) == 1
    return project, command


def serve(project, command, **options):
    # Without names `doit provision` does the models alone: then plain doit finds its task as the engine left it.
    if command == ["provision"]:
        project.provision(**options)
        command = ["serve"]
    return project.doit(*command, **options)


def times(project):
    return (project.root / "served").read_text().count("served")


@pytest.mark.parametrize(
    "change",
    [
        lambda project: None,
        lambda project: os.utime(project.root / "models/tiny.gguf"),
        lambda project: write(project, expected_digest=f"sha256:{SHA}"),
        lambda project: write(project, keep="true"),
        lambda project: shutil.rmtree(project.root / ".runtime"),
        lambda project: shutil.rmtree(project.state / "projects"),
        lambda project: project.doit("forget", "models"),
    ],
    ids=["nothing", "touched", "pinned", "kept", "handoff removed", "state lost", "forgotten"],
)
def test_it_is_left_alone_while_the_engine_would_load_the_same(served, change, request):
    project, command = served
    change(project)
    settle()
    serve(project, command)
    lost = "state lost" in request.node.name  # with it, that it was served
    assert times(project) == (2 if lost else 1)
    serve(project, command)
    assert times(project) == (2 if lost else 1)


def other_bytes(project):
    data = bytearray(TINY.read_bytes())
    data[-1] ^= 1
    project.write("models/tiny.gguf", bytes(data))


def other_path(project):
    project.add_tiny("models/other.gguf")
    write(project, model_ref="models/other.gguf")


@pytest.mark.parametrize("change", [other_bytes, other_path])
def test_it_is_done_again_once_when_the_engine_would_load_something_else(served, change):
    project, command = served
    change(project)
    settle()
    for _ in range(2):
        serve(project, command)
        assert times(project) == 2


def test_it_is_done_again_for_another_companion(served, tiny_models):
    project, command = served
    (adapter,) = tiny_models.glob("*lora*.gguf")
    project.write("models/style.gguf", adapter.read_bytes())
    write(project, lora="models/style.gguf")
    settle()
    for _ in range(2):
        serve(project, command)
        assert times(project) == 2


def test_it_is_not_done_while_the_model_fails(served):
    project, command = served
    write(project, expected_digest=f"sha256:{'0' * 64}")
    for command in (["provision", "serve"], ["serve"]):
        project.doit(*command, code=None)
        assert times(project) == 1
    write(project)
    for _ in range(2):
        serve(project, command)
        assert times(project) == 2  # doit forgets a task whose model failed


def test_a_name_that_is_no_entry_is_told(project):
    project.add_tiny()
    write(project)
    project.write("dodo.py", DODO.replace('same_model("tiny")', 'same_model("tinny")'))
    for command in (["provision", "serve"], ["serve"]):
        assert "models:handoff:tinny" in project.doit(*command, code=3).err
