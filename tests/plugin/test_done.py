"""What the program did is done for doit, and the other way round: tasks that use a model run again only for other bytes."""

import os

import pytest

from tests.support.project import DODO, settle

ONE = "models: {tiny: {model_ref: tiny.gguf, handoff: .runtime/engines/llamacpp.json}}\n"
USERS = """
def task_by_value():
    return {'actions': ['echo %(digest)s >> values'], 'getargs': {'digest': ('models:verify:tiny', 'digest')}}

def task_by_file():
    return {'actions': ['echo used >> files'], 'file_dep': ['.runtime/engines/llamacpp.json']}
"""


@pytest.fixture(params=["models", "json", "dbm", "sqlite3"])
def used(project, request):
    """A project with two tasks that use a model, under one of doit's backends."""
    project.add_tiny("tiny.gguf")
    project.models(ONE)
    settings = (
        "" if request.param == "models" else f"DOIT_CONFIG = {{'backend': '{request.param}', 'dep_file': '.state'}}\n"
    )
    project.write("dodo.py", f"{DODO}{settings}{USERS}")
    settle()
    return project


def uses(project):
    return [len((project.root / name).read_text().splitlines()) for name in ("values", "files")]


@pytest.mark.parametrize("first", ["doit", "program"])
def test_tasks_that_use_a_model_are_not_run_again_after_the_other_face_did_the_work(used, first):
    if first == "program":
        used.program("provision")
    used.doit("run")
    assert uses(used) == [1, 1]
    os.utime(used.root / "tiny.gguf", (1, 1))
    settle()
    assert "confirmed by xxh3" in used.program("provision").out
    out = used.doit("run").out
    assert uses(used) == [1, 1]
    assert ".  " not in out
    assert "1 model: 1 current" in used.provision().out


def test_tasks_that_use_a_model_are_run_again_when_the_program_handed_off_other_bytes(used):
    used.doit("run")
    data = bytearray((used.root / "tiny.gguf").read_bytes())
    data[-1] ^= 1
    (used.root / "tiny.gguf").write_bytes(data)
    settle()
    used.program("provision")
    settle()
    assert "-- models:verify:tiny\n" in used.doit("run").out
    used.doit("run")  # doit asks what a value was before it asks the task that has it
    assert uses(used) == [2, 2]


def test_what_doit_is_to_forget_it_does_again(used):
    used.program("provision")
    used.doit("run")
    used.doit("forget", "models:verify:tiny")
    assert ".  models:verify:tiny\n" in used.doit("run", "models").out
    assert "-- models:verify:tiny\n" in used.doit("run", "models").out
    used.doit("forget", "--all")
    assert "1 model: 1 done" in used.provision().out
    assert "1 model: 1 current" in used.provision().out
