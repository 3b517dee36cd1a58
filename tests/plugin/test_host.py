"""doit as the host: its own commands, a project's own tasks beside ours, and every way to run them."""

import json
import os
import re

import pytest

from tests.support.project import DODO, TINY, settle, settle_in_every_process

ONE = "models:\n  tiny:\n    model_ref: 'file:models/tiny.gguf'\n"
HANDOFF = '"{runtime_dir}/engines/{name}.json"'


@pytest.fixture
def tiny(project):
    project.add_tiny()
    project.models(ONE)
    settle()
    return project


@pytest.fixture
def hosted(tiny):
    """A project whose dodo.py imports ours."""
    tiny.write("dodo.py", DODO)
    return tiny


def test_plain_doit_runs_the_models_of_a_dodo_of_one_import(hosted):
    answer = hosted.doit()
    assert ".  models:verify:tiny\n" in answer.out
    assert hosted.handoff()
    answer = hosted.doit()
    assert answer.out.splitlines() == [
        "-- models:verify:tiny",
        "-- models:register:tiny",
        "-- models:handoff:tiny",
        "-- models:withdraw",
    ]


def test_provision_and_run_share_one_state(hosted):
    hosted.provision()
    assert ".  models" not in hosted.doit().out
    assert not list(hosted.root.glob(".doit*"))


@pytest.mark.parametrize("options", [["-n", "2"], ["-n", "0"], ["--always-execute"]])
@pytest.mark.parametrize("command", ["run", "provision"])
def test_every_way_to_run(hosted, command, options):
    hosted.doit(command, *options)
    assert hosted.handoff()
    assert hosted.rows()["tiny"]["state"] == "Active"
    assert len(hosted.provenance()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "provision"])
def test_with_processes(hosted, command):
    settle_in_every_process()
    hosted.process(command, "-n", "2", "-P", "process")
    assert hosted.handoff()
    assert hosted.rows()["tiny"]["state"] == "Active"
    assert len(hosted.provenance()) == 1


@pytest.mark.parametrize("command", ["run", "provision"])
def test_one_step_at_a_time(hosted, command):
    for step in ("verify", "register", "handoff"):
        assert hosted.handoff() is None
        hosted.doit(command, "--single", f"models:{step}:tiny")
    assert hosted.handoff()
    assert hosted.rows()["tiny"]["state"] == "Active"
    assert len(hosted.provenance()) == 1


def test_an_unsettled_file_in_process_mode(hosted):
    """The register step runs in another process than the verify step, which can't trust the file's stat yet."""
    hosted.add_tiny()
    hosted.process("run", "-n", "2", "-P", "process")
    assert hosted.rows()["tiny"]["state"] == "Active"
    assert hosted.handoff()


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_two_names_of_one_file_are_up_to_date_for_doit(hosted, link):
    """The memo knows the second one by the first."""
    link(hosted.root / "models/tiny.gguf", hosted.root / "link.gguf")
    hosted.models(
        f"models:\n  a: {{model_ref: models/tiny.gguf, handoff: {HANDOFF}}}\n"
        f"  b: {{model_ref: link.gguf, handoff: {HANDOFF}}}\n"
    )
    settle()
    hosted.doit("run")
    assert ".  " not in hosted.doit("run").out
    hosted.doit("forget", "models")
    hosted.provision()
    assert ".  " not in hosted.doit("run").out
    assert len(hosted.provenance()) == 1


def test_list(hosted):
    lines = hosted.doit("list", "--all").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "models",
        "models:handoff:tiny",
        "models:register:tiny",
        "models:verify:tiny",
        "models:withdraw",
    ]
    assert "verify tiny and read its header" in lines[3]
    assert [line.split()[:2] for line in hosted.doit("list", "--all", "-s").out.splitlines()][1:4] == [
        ["R", "models:handoff:tiny"],
        ["R", "models:register:tiny"],
        ["R", "models:verify:tiny"],
    ]
    assert not (hosted.root / ".runtime").exists()
    hosted.provision()
    assert [line[0] for line in hosted.doit("list", "--all", "-s").out.splitlines()][1:4] == ["U", "U", "U"]


def test_looking_withdraws_nothing(hosted):
    hosted.provision()
    os.utime(hosted.root / "models/tiny.gguf", (1e9, 1e9))
    hosted.doit("list", "--all", "-s")
    hosted.doit("info", "models:verify:tiny", code=1)
    hosted.doit("model-why", "tiny")
    hosted.doit("model-list")
    assert hosted.handoff()


def test_info(hosted):
    answer = hosted.doit("info", "models:handoff:tiny", code=1)
    assert " - .runtime/engines/llamacpp.json\n" in answer.out
    answer = hosted.doit("info", "models:verify:tiny", code=1)
    assert " - models/tiny.gguf\n" in answer.out
    assert " - .runtime/digests/tiny.sha256\n" in answer.out
    hosted.provision()
    assert "up-to-date" in hosted.doit("info", "models:verify:tiny").out


def test_clean_removes_artifacts_and_never_a_model(hosted):
    hosted.provision()
    answer = hosted.doit("clean", "-n", "models")
    assert "removing file '.runtime/engines/llamacpp.json'" in answer.out
    assert hosted.handoff()
    hosted.doit("clean", "models")
    assert hosted.handoff() is None
    assert not (hosted.root / ".runtime/digests/tiny.sha256").exists()
    assert (hosted.root / "models/tiny.gguf").read_bytes() == TINY.read_bytes()
    assert "confirmed by stat" in hosted.provision().out
    assert hosted.handoff()


def test_forget_runs_the_steps_again_from_the_memo(hosted):
    hosted.provision()
    before = (hosted.root / ".runtime/engines/llamacpp.json").stat().st_ino
    hosted.doit("forget", "models")
    assert "confirmed by stat" in hosted.provision().out
    assert (hosted.root / ".runtime/engines/llamacpp.json").stat().st_ino == before
    assert len(hosted.provenance()) == 1


def test_a_loader_instead_of_a_dodo(tiny):
    tiny.write("pyproject.toml", '[tool.doit]\nloader = "models"\n')
    assert "models" in tiny.doit("list").out
    tiny.doit("models:handoff:tiny")
    assert tiny.handoff()
    assert "1 model: 1 current" in tiny.provision().out


def test_a_project_makes_a_model_and_uses_its_handoff(hosted):
    """A task's target is our file_dep, and our target is a task's file_dep: doit orders them."""
    (hosted.root / "models/tiny.gguf").rename(hosted.root / "source.gguf")
    hosted.write(
        "dodo.py",
        DODO
        + "def task_convert():\n"
        + "    return {'actions': ['cp source.gguf models/tiny.gguf'], 'file_dep': ['source.gguf'], "
        + "'targets': ['models/tiny.gguf'], 'clean': True}\n"
        + "def task_serve():\n"
        + "    return {'actions': ['cp .runtime/engines/llamacpp.json started'], "
        + "'file_dep': ['.runtime/engines/llamacpp.json'], 'targets': ['started']}\n",
    )
    answer = hosted.doit("run")
    order = re.findall(r"^\.  (\S+)", answer.out, re.MULTILINE)
    assert order.index("convert") < order.index("models:verify:tiny")
    assert order.index("models:handoff:tiny") < order.index("serve")
    assert json.loads((hosted.root / "started").read_text()) == hosted.handoff()
    settle()
    assert ".  convert" not in hosted.doit("run").out  # what was made a moment ago is read once more
    assert ".  " not in hosted.doit("run").out
    (hosted.root / "models/tiny.gguf").unlink()
    assert ".  convert\n" in hosted.provision().out
    assert ".  serve" not in hosted.provision().out


def test_a_dodo_without_our_tasks_keeps_its_own_state_and_gets_ours(tiny):
    tiny.write(
        "dodo.py",
        "DOIT_CONFIG = {'default_tasks': ['other']}\n"
        "def task_other():\n"
        "    return {'actions': ['touch other'], 'targets': ['other'], 'file_dep': ['models.yaml']}\n",
    )
    tiny.doit()
    assert tiny.handoff() is None
    assert "1 model: 1 done" in tiny.provision().out
    assert tiny.handoff()
    assert "-- other\n" in tiny.provision("other").out
    assert tiny.doit().out == "-- other\n"


def test_a_task_that_takes_our_name_is_bad_input(tiny):
    tiny.write("dodo.py", "def task_models():\n    return {'actions': ['true']}\n")
    answer = tiny.provision(code=3)
    assert answer.err == (
        "ERROR: the project has a task 'models' of its own\n"
        "  fix       rename it: that name is the one that model-provisioner's tasks need\n"
    )


def test_a_failing_task_of_the_project_is_told_as_doit_tells_it(hosted):
    hosted.write(
        "dodo.py", DODO + "def task_make():\n    return {'actions': ['false'], 'targets': ['models/tiny.gguf']}\n"
    )
    answer = hosted.provision(code=1)
    assert "TaskFailed - taskid:make" in answer.out
    assert "FAIL  tiny  what it needs failed: make\n" in answer.out
    assert "1 model: 1 failed" in answer.out


def test_the_projects_settings_are_read_in_a_folder_above(tiny):
    tiny.write("pyproject.toml", '[tool.doit.commands.provision]\nreporter = "zero"\n')
    below = tiny.root / "a" / "b"
    below.mkdir(parents=True)
    assert tiny.provision(cwd=below).out == ""
    assert tiny.handoff()


def test_options_after_names(tiny):
    assert tiny.provision("tiny", "-r", "zero").out == ""


def test_zero_models(project):
    project.models("models: {}\n")
    assert re.fullmatch(r"0 models: nothing to do \(\d+\.\d\d s\)\n", project.provision().out)


def test_output_can_go_to_a_file(tiny):
    tiny.provision("-o", "report.txt")
    assert "1 model: 1 done" in (tiny.root / "report.txt").read_text()


def test_help_names_the_commands(tiny):
    out = tiny.doit("help").out
    for name in ("provision", "model-list", "model-show", "model-why", "model-schema"):
        assert f"doit {name}" in out or f" {name} " in out
    assert "--require-digest" in tiny.doit("help", "provision").out


def test_ignored_models_are_left_alone(hosted):
    hosted.doit("ignore", "models:verify:tiny")
    assert "!! models:verify:tiny" in hosted.provision().out
    assert hosted.handoff() is None
