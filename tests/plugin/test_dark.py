"""Nobody is left in the dark: a run that takes a handoff away and does not write it again names the model, and does not exit 0.

So does one that meets a handoff which it can't remove, or can't look at.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.support.project import DODO, Project, settle
from tests.support.slow_disk import SlowDisk

GONE = r"its handoff was withdrawn \(mtime changed\)"


@pytest.fixture
def pair(project):
    """Two models that were handed off, `t` and `u`, under plain doit, too."""
    for name in "tu":
        project.write(f"{name}.bin", f"bytes of {name}")
    project.models(
        'defaults: {handoff: "out/{name}/{name}.json"}\nmodels: {t: {model_ref: t.bin}, u: {model_ref: u.bin}}\n'
    )
    project.write("dodo.py", DODO)
    settle()
    project.provision()
    return project


def touched(project, *names):
    for name in names:
        os.utime(project.root / f"{name}.bin")
    settle()


def has(project, name):
    return os.path.lexists(project.root / f"out/{name}/{name}.json")


def named(answer):
    """Return the models that an answer says lost their handoffs, each said once."""
    found = re.findall(r"^(?:gone  |WARNING: )(\w+)  its handoff was withdrawn", answer.all, re.MULTILINE)
    assert len(found) == len(set(found)), answer
    return sorted(found)


# ---- tasks that end before the handoff


@pytest.mark.parametrize(
    "command", [["provision"], ["run"], ["run", "-n", "2"], ["run", "-n", "2", "-P", "process"], ["run", "-a"]]
)
@pytest.mark.parametrize("task", ["models:verify:t", "models:register:t"])
def test_a_step_that_takes_the_handoff_away_and_is_the_last_that_was_asked_for(pair, command, task):
    touched(pair, "t")
    answer = pair.doit(*command, task, code=1) if "process" not in command else pair.process(*command, task, code=1)
    assert (named(answer), has(pair, "t"), has(pair, "u")) == (["t"], False, True)
    assert re.search(GONE, answer.all)
    pair.doit(*command[:1], code=0)
    assert has(pair, "t")


@pytest.mark.parametrize("command", [["provision"], ["provision", "-r", "zero"], ["run"]])
def test_a_step_that_takes_no_handoff_away_is_no_failure(pair, command):
    (pair.root / "out/t/t.json").unlink()
    touched(pair, "t")
    assert named(pair.doit(*command, "models:verify:t")) == []


def test_of_what_was_not_asked_for_as_well(pair):
    touched(pair, "t", "u")
    assert named(pair.provision("models:handoff:t", code=1)) == ["u"]
    assert (has(pair, "t"), has(pair, "u")) == (True, False)


@pytest.mark.parametrize("step", ["verify", "register", "handoff"])
@pytest.mark.parametrize(
    "command", [["provision"], ["provision", "t"], ["provision", "-r", "console"], ["provision", "models:handoff:t"]]
)
def test_what_doit_ignores(pair, step, command):
    pair.doit("ignore", f"models:{step}:t")
    touched(pair, "t")
    assert named(pair.doit(*command, code=1)) == ["t"]
    out = pair.provision("t").out
    assert re.search(r"^1 model: 1 ignored \(", out, re.MULTILINE), "and later it is at least counted"
    assert "_provision" not in out


def test_plain_doit_that_ignores_the_handoff_only(pair):
    pair.doit("ignore", "models:handoff:t")
    touched(pair, "t")
    assert named(pair.doit("run", code=1)) == ["t"]


def test_what_plain_doit_does_not_come_to_after_the_first_failure(pair):
    touched(pair, "u")
    (pair.root / "t.bin").unlink()
    answer = pair.doit("run", "models:verify:u", "models:handoff:t", "models:handoff:u", code=1)
    assert (named(answer), has(pair, "t"), has(pair, "u")) == (["u"], False, False)


# ---- runs that come to no end


@pytest.mark.parametrize(
    ("dodo", "arguments", "code"),
    [
        ("import sys; sys.exit(4)", [], 4),
        ("def task_x(): return 5", [], 3),
        (DODO + "def task_x(): return {'actions': None, 'task_dep': ['nothere']}", [], 3),
        (DODO, ["nothere"], 3),
        (DODO, ["--nothere"], 3),
        (DODO, ["-r", "nothere"], 3),
    ],
)
def test_a_mistake_that_ends_the_run_after_the_sweep(pair, dodo, arguments, code):
    pair.write("dodo.py", dodo)
    touched(pair, "t", "u")
    answer = pair.doit("provision", *arguments, code=code)
    assert named(answer) == [name for name in "tu" if not has(pair, name)]


def test_what_no_entry_claims_is_named_there_too(pair):
    pair.models('models: {u: {model_ref: u.bin, handoff: "out/u/u.json"}}\n')
    pair.write("dodo.py", "def task_x(): return 5")
    answer = pair.provision(code=3)
    assert "gone  out/t/t.json  removed: no entry of models.yaml claims it\n" in answer.err
    assert not has(pair, "t")


def test_a_state_folder_that_is_not_believed(pair):
    os.chmod(pair.state, 0o777)
    answer = pair.provision(code=2)
    assert "nothing confirms the handoffs of t, u: they were withdrawn" in answer.err
    assert (has(pair, "t"), has(pair, "u")) == (False, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        (["provision"], signal.SIGINT, 130),
        (["provision"], signal.SIGTERM, 130),
        (["model-verify", "--full"], signal.SIGINT, 130),
        (["model-verify", "--full"], signal.SIGTERM, 130),
        (["run"], signal.SIGINT, -signal.SIGINT),  # plain doit dies of SIGTERM without a word
    ],
)
def test_a_signal_while_a_model_is_read(pair, command, number, code):
    os.truncate(pair.root / "t.bin", 300 << 20)
    SlowDisk(pair, 0.1)
    process = pair.start(*command)
    deadline = time.monotonic() + 60
    while has(pair, "t") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    out, err = (stream.decode() for stream in process.communicate(timeout=60))
    assert process.returncode == code, (process.returncode, out, err)
    assert re.search(r"^WARNING: t  its handoff was withdrawn", err, re.MULTILINE), (out, err)


# ---- what can't be removed, or looked at


def unprivileged(project: Project, *arguments: str) -> subprocess.CompletedProcess:
    """Run doit under the rights of files, which bind root only without these capabilities."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*drop, sys.executable, "-m", "doit", *arguments],
        cwd=project.root,
        env=project.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=[0o000, 0o555])
def shut(request, pair):
    """The folder of the handoff of `t` can't be looked into, or not be written."""
    touched(pair, "t", "u")
    folder = pair.root / "out/t"
    folder.chmod(request.param)
    yield pair
    folder.chmod(0o755)
    assert has(pair, "t")


SAID = "  where     {0}/out/t/t.json\n  expected  a file or folder that we can write\n  found     Permission denied\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["provision"],
        ["provision", "t"],
        ["provision", "-r", "console"],
        ["provision", "models:handoff:u"],
        ["provision", "models:verify:u"],
        ["run"],
        ["run", "models:handoff:t"],
        ["model-verify"],
        ["model-verify", "t"],
        ["model-retire", "t", "u"],
        ["clean", "models:handoff:t"],
    ],
)
def test_a_handoff_that_stands_unconfirmed_is_an_error_that_names_it(shut, arguments):
    ran = unprivileged(shut, *arguments)
    said = ran.stdout + ran.stderr
    assert "Traceback" not in said, said
    assert ran.returncode == 2, said
    assert SAID.format(shut.root) in said.replace("        where", "  where").replace(
        "        expected", "  expected"
    ).replace("        found", "  found"), said
    if arguments[0] == "model-retire":
        assert not has(shut, "u"), "the other one is retired all the same"


def test_of_a_retired_model_in_every_run_until_it_is_gone(shut):
    unprivileged(shut, "model-retire", "t")
    for _ in range(2):
        ran = unprivileged(shut, "provision")
        assert (ran.returncode, SAID.format(shut.root) in ran.stderr) == (2, True), ran


@pytest.mark.parametrize("records", ["there", "lost"])
def test_of_a_removed_entry_in_every_run_until_it_is_gone(shut, records):
    shut.models('models: {u: {model_ref: u.bin, handoff: "out/u/u.json"}}\n')
    if records == "lost":
        for path in shut.state.glob("projects/*/build.db*"):
            path.unlink()
    for _ in range(2):
        ran = unprivileged(shut, "provision")
        assert (ran.returncode, SAID.format(shut.root) in ran.stderr) == (2, True), ran


def test_a_folder_that_became_a_circle_of_links_is_no_place_where_nothing_is(pair):
    """ELOOP, which root meets as well."""
    touched(pair, "t")
    moved = (pair.root / "out").rename(pair.root / "moved")
    (pair.root / "out").symlink_to("out")
    answer = pair.provision(code=None)
    assert answer.code in (2, 3)
    assert "out/t" in answer.all
    (pair.root / "out").unlink()
    moved.rename(pair.root / "out")
    assert has(pair, "t")


def test_the_python_api_raises_for_what_no_entry_claims(pair):
    pair.models('model_ref: u.bin\nengine: vllm\nhandoff: "out/u/u.json"\n')
    folder = shlex.quote(str(pair.root / "out/t"))
    mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    program = "from model_provisioner.api import *; provision_from_config_to_default_handoff('models.yaml')"
    command = f"{mount} && exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
        cwd=pair.root,
        env=pair.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StorageError: a file could not be removed" in ran.stderr, ran
    assert f"{pair.root}/out/t/t.json" in ran.stderr
    assert has(pair, "u")
