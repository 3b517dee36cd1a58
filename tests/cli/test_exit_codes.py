"""How a command ends: exit codes, output that nobody reads, mistakes on the command line."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.project import settle

ONE = "models:\n  tiny:\n    model_ref: 'file:models/tiny.gguf'\n"


@pytest.fixture
def tiny(project):
    project.add_tiny()
    project.models(ONE)
    settle()
    return project


def shell(project, command: str, **environ: str) -> subprocess.CompletedProcess:
    """Run a line of bash in which `doit` is ours."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'doit() {{ "{sys.executable}" -m doit "$@"; }}; {command}'],
        cwd=project.root,
        env={**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(project.state), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("output", ["| true", ">&-", "> /dev/full", ">&- 2>&-"])
def test_the_work_is_done_when_nobody_reads_of_it(tiny, output):
    answer = shell(tiny, f"doit provision {output}")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert tiny.handoff()
    assert tiny.rows()["tiny"]["state"] == "Active"


@pytest.mark.parametrize("command", ["model-list", "model-show tiny", "model-why", "model-schema"])
@pytest.mark.parametrize("output", ["| true", ">&-"])
def test_a_query_that_nobody_reads_ends_quietly(tiny, command, output):
    tiny.provision()
    answer = shell(tiny, f"doit {command} {output}")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_terminal_of_few_characters_shows_what_it_can(tiny):
    """Our own signs are written in plain ones, letters of names by their code."""
    answer = shell(tiny, "doit provision; doit model-show tïny…", PYTHONIOENCODING="ascii")
    assert " -> .runtime/engines/llamacpp.json" in answer.stdout
    assert "no model has the name or id 't\\xefny...'\n" in answer.stderr
    assert answer.returncode == 3


@pytest.mark.parametrize(
    ("name", "fix"),
    [("tinyy", "did you mean tiny?"), ("zzz", "`doit list --all` shows the tasks that can be named as well")],
)
def test_an_unknown_name_is_told_with_what_was_perhaps_meant(tiny, name, fix):
    words = (
        f"ERROR: there is no model '{name}'\n  where     {tiny.root}/models.yaml\n  expected  one of tiny\n"
        f"  found     no entry of this name\n  fix       {fix}\n"
    )
    assert tiny.provision(name, code=3).err == words
    assert tiny.doit("model-why", name, code=3).err == words


def test_an_output_file_that_can_not_be_written_is_told(tiny):
    assert tiny.provision("-o", "no/such/folder", code=3).err == (
        "ERROR: the output file can't be written\n"
        f"  where     {tiny.root}/no/such/folder\n"
        "  expected  a file that you can write, in a folder that is there\n"
        "  found     No such file or directory\n"
        "  fix       name another file after -o\n"
    )


def test_processes_are_taken_for_threads(tiny):
    answer = tiny.provision("-P", "process", "-n", "2")
    assert answer.err == "note: models are provisioned by threads; -P process is taken for -P thread\n"
    assert tiny.handoff()


@pytest.mark.parametrize("argument", ["--no-such-option", "-n"])
def test_a_mistake_on_the_command_line_is_bad_input(tiny, argument):
    assert tiny.provision(argument, code=3).err.startswith("ERROR: ")


def test_a_mistake_in_dodo_py_is_told_by_doit(tiny):
    tiny.write("dodo.py", "def task_x():\n    return 5\n")
    assert "Task 'x'" in tiny.provision(code=3).err


def test_a_state_folder_that_others_may_write_is_not_believed(tiny):
    tiny.provision()
    os.chmod(tiny.state, 0o777)
    assert tiny.provision(code=2).err == (
        "ERROR: the state folder can be written by others; so nothing confirms the handoffs of tiny: they were withdrawn\n"
        f"  where     {tiny.state}\n"
        "  expected  mode 0700\n"
        "  found     mode 0777\n"
        f"  fix       chmod 700 {tiny.state}\n"
    )
    assert tiny.handoff() is None


def test_doits_state_may_be_damaged_at_any_time(tiny):
    tiny.provision()
    (path,) = tiny.state.glob("projects/*/doit.db")
    for damage in (b"garbage" * 1000, path.read_bytes()[:100], b""):
        path.write_bytes(damage)
        assert "1 model: 1 current" in tiny.provision().out
        assert path.read_bytes().startswith(b"SQLite format 3")


def test_an_answer_that_can_not_be_written_is_told(tiny):
    answer = shell(tiny, "doit model-schema > /dev/full")
    assert (answer.returncode, answer.stderr) == (
        2,
        "ERROR: the output could not be written\n  found     No space left on device\n",
    )
    assert shell(tiny, "doit provision nope 2> /dev/full").returncode == 3
    assert shell(tiny, "doit provision -o - > /dev/full").returncode == 0
    assert tiny.handoff()


def test_commands_without_names_take_none(tiny):
    assert tiny.doit("model-schema", "nonsense", code=3).err == (
        "ERROR: model-schema takes no names\n  where     the command line\n"
        "  expected  the options and names as its help shows them\n  found     nonsense\n  fix       see `doit help model-schema`\n"
    )


def test_names_are_safe_to_print(tiny):
    name = "we\x1b[31mird\n" + "x" * 100 + ".gguf"
    (tiny.root / name).write_bytes((tiny.root / "models/tiny.gguf").read_bytes())
    shell(
        tiny,
        f"'{sys.executable}' -c 'import glob, model_provisioner as m; "
        'm.ModelProvisioner().ensure_present("./" + glob.glob("we*")[0])\'',
    )
    out = tiny.doit("model-list", "--all").out
    assert "llama Q8_0" in out
    assert "\x1b" not in out


IN_A_CALLBACK = """
import os, signal, sys, time, weakref
from model_provisioner.cli.exit_codes import exit_code_of

class Thing: pass

def command():
    thing = Thing()
    kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), int(sys.argv[1])))
    del thing
    time.sleep(60)
    return 0

sys.exit(exit_code_of(command, interrupted="interrupted"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_callback_of_the_collector_is_not_lost(number):
    """Python prints "Exception ignored" there, and goes on."""
    command = [sys.executable, "-c", IN_A_CALLBACK, str(int(number))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stderr) == (130, "interrupted\n")
