"""doit's own settings and commands beside models: none ends in a traceback, each in a sentence."""

import json
import os
import re

import pytest

from tests.support.project import DODO, TINY, settle

ONE = "models:\n  tiny:\n    model_ref: 'file:models/tiny.gguf'\n"
TIMES = f'{DODO}DOIT_CONFIG = {{**DOIT_CONFIG, "check_file_uptodate": "timestamp"}}\n'


@pytest.fixture
def tiny(project):
    project.add_tiny()
    project.models(ONE)
    settle()
    return project


# ---- where doit keeps its state


@pytest.mark.parametrize("folder", [".", "below"])
def test_a_state_file_without_a_folder_lies_where_doit_runs(tiny, folder):
    (tiny.root / "below").mkdir()
    tiny.provision("--db-file", "x.db", cwd=tiny.root / folder)
    assert (tiny.root / "x.db").read_bytes().startswith(b"SQLite")
    assert "models:verify:tiny -> " in tiny.doit("dumpdb", "--db-file", "x.db").out


@pytest.mark.parametrize("backend", ["models", "dbm", "json", "sqlite3"])
def test_a_dodo_may_name_it_without_a_folder(tiny, backend):
    tiny.write("dodo.py", f'{DODO}DOIT_CONFIG = {{**DOIT_CONFIG, "backend": "{backend}", "dep_file": ".state"}}\n')
    tiny.provision()
    assert list(tiny.root.glob(".state*"))
    assert ".  " not in tiny.doit().out
    tiny.doit("forget", "models")
    assert ".  models:verify:tiny\n" in tiny.doit().out


def test_settings_may_name_it_without_a_folder(tiny):
    tiny.write("pyproject.toml", '[tool.doit]\nbackend = "models"\ndep_file = ".doit.db"\n')
    tiny.provision()
    assert (tiny.root / ".doit.db").read_bytes().startswith(b"SQLite")
    assert "1 model: 1 current" in tiny.provision().out


# ---- how doit sees that a file changed


def test_a_project_may_change_how_files_are_compared_and_back(tiny):
    for dodo in (DODO, TIMES, DODO, TIMES):
        tiny.write("dodo.py", dodo)
        os.utime(tiny.root / "models/tiny.gguf")  # so that the checker at hand keeps its own form of state
        settle()
        tiny.provision()
        tiny.doit()
        assert "1 model: 1 current" in tiny.provision().out


@pytest.mark.parametrize("state", [1.5, "text", [1, 2], {"a": 1}, None, []])
def test_what_is_kept_of_a_file_in_another_form_says_nothing(tiny, state):
    tiny.write(
        "dodo.py",
        f"""{DODO}DOIT_CONFIG = {{**DOIT_CONFIG, "backend": "json", "dep_file": ".state"}}

def task_own():
    return {{"file_dep": ["models.yaml"], "actions": ["true"]}}
""",
    )
    tiny.provision()
    tiny.doit()
    rows = json.loads((tiny.root / ".state").read_text())
    rows["own"]["models.yaml"] = rows["models:verify:tiny"]["models/tiny.gguf"] = state
    tiny.write(".state", json.dumps(rows))
    out = tiny.doit().out
    assert ".  own\n" in out
    assert "-- models:verify:tiny\n" in out  # what is current says the engine
    assert json.loads((tiny.root / ".state").read_text())["models:verify:tiny"]["models/tiny.gguf"][1:] != state
    assert ".  " not in tiny.doit().out


# ---- doit dumpdb


@pytest.mark.parametrize("made", ["nothing", "dodo", "loader"])
def test_dumpdb_finds_and_prints_what_is_kept_of_our_tasks(tiny, made):
    if made == "dodo":
        tiny.write("dodo.py", DODO)
    elif made == "loader":
        tiny.write("pyproject.toml", '[tool.doit]\nloader = "models"\n')
    tiny.provision()
    out = tiny.doit("dumpdb").out
    assert re.search(r"^models:verify:tiny -> {", out, re.MULTILINE)
    assert "'models/tiny.gguf': [" in out


def test_dumpdb_prints_the_files_of_doits_own_backend_as_ever(tiny):
    tiny.write("dodo.py", 'def task_own():\n    return {"actions": ["true"]}\n')
    tiny.doit()
    out = tiny.doit("dumpdb").out
    assert out.startswith("DBM type is 'dbm.")
    assert "b'own' -> {" in out


@pytest.mark.parametrize("backend", ["json", "sqlite3"])
def test_dumpdb_says_of_other_backends_that_it_does_not_read_them(tiny, backend):
    tiny.write(
        "dodo.py", f'DOIT_CONFIG = {{"backend": "{backend}"}}\ndef task_own():\n    return {{"actions": ["true"]}}\n'
    )
    tiny.doit()
    error = tiny.doit("dumpdb", code=2).err
    assert error.startswith("ERROR: the file in which doit keeps its state can't be printed\n")
    assert f"  where     {tiny.root}/.doit.db\n" in error


def test_dumpdb_before_the_first_task(tiny):
    tiny.write("dodo.py", "")
    assert tiny.doit("dumpdb", code=3).err == (
        "ERROR: doit keeps nothing in .doit.db: no task was done yet, or --db-file names another file\n"
    )


def test_dumpdb_of_a_damaged_file(tiny):
    tiny.write("x.db", b"SQLite format 3\0" + bytes(5000))
    assert (
        "  found     the state of doit is damaged or not a database\n"
        in tiny.doit("dumpdb", "--db-file", "x.db", code=2).err
    )


def test_help_of_dumpdb_and_forget_is_there(tiny):
    assert "dump dependency DB" in tiny.doit("help", "dumpdb").out
    assert "clear successful run status" in tiny.doit("help", "forget").out


# ---- doit forget


def test_forget_without_names_says_what_to_name(tiny):
    tiny.write("dodo.py", DODO)
    tiny.provision()
    assert tiny.doit("forget", code=3).err.startswith(
        "ERROR: no tasks are named, and the project has no default_tasks: name some, or add --all"
    )
    assert ".  " not in tiny.doit().out
    assert tiny.doit("forget", "--all").out == "forgetting all tasks\n"
    assert ".  models:verify:tiny\n" in tiny.doit().out


def test_forget_without_names_forgets_the_default_tasks(tiny):
    tiny.write("dodo.py", f'{DODO}DOIT_CONFIG = {{**DOIT_CONFIG, "default_tasks": ["models"]}}\n')
    tiny.provision()
    assert "forgetting models:verify:tiny\n" in tiny.doit("forget").out


# ---- locales


NAMED = "models:\n  tiny:\n    model_ref: 'file:models/模型.gguf'\n"
COMMANDS = [
    ["provision", "--full"],
    ["run", "-a"],
    ["list", "--all"],
    ["info", "models:verify:tiny"],
    ["clean", "-n"],
    ["dumpdb"],
    ["model-list"],
    ["model-show", "tiny"],
    ["model-why"],
    ["model-verify", "--full"],
    ["model-lock"],
    ["model-check"],
    ["model-report", "-o", "-"],
    ["model-attest", "tiny"],
    ["model-retire", "tiny"],
]


@pytest.fixture
def chinese(project):
    project.write("models/模型.gguf", TINY.read_bytes())
    project.models(NAMED)
    project.write("dodo.py", DODO)
    settle()
    return project


@pytest.mark.slow
def test_every_command_prints_names_that_the_terminal_has_no_characters_for(chinese):
    chinese.environ["PYTHONIOENCODING"] = "latin-1"
    for command in COMMANDS:
        process = chinese.start(*command)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 1), err
        assert b"Traceback" not in out + err, (command, err)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "a lock and records"])
def test_where_the_locale_has_no_bytes_for_a_name_every_command_says_so(chinese, before):
    if before != "nothing":
        chinese.doit("model-lock")
        chinese.provision()
    chinese.environ.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    for command in [["provision"], ["run"], ["list"], *COMMANDS[9:14], ["model-why"]]:
        answer = chinese.process(*command, code=3)
        where = ":3, models -> tiny -> model_ref"
        assert where in answer.err, command
        assert "the locale has no bytes for this name\n" in answer.err
        assert "run it with PYTHONUTF8=1, or in a UTF-8 locale: LC_ALL=C.UTF-8" in answer.err
    chinese.environ["PYTHONUTF8"] = "1"
    chinese.process("provision")
    assert chinese.handoff()


@pytest.mark.slow
def test_a_handoff_whose_name_the_locale_has_no_bytes_for_is_a_fault(tiny):
    tiny.models(f"{ONE}    handoff: '{{runtime_dir}}/模型.json'\n")
    tiny.environ.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    error = tiny.process("provision", code=3).err
    assert ":4, models -> tiny -> handoff\n" in error
    assert "the locale has no bytes for this name\n" in error


# ---- how many models are read at a time


def test_as_many_at_a_time_as_there_are_cores_for_this_process(run_python):
    """A container or a batch system may give fewer than the machine has."""
    shown = run_python(
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from model_provisioner.plugin.provision import Provision\n"
        "print(next(option['default'] for option in Provision.cmd_options if option['name'] == 'num_process'))\n"
    )
    assert shown == "1\n"
