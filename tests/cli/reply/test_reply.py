"""`--json`: exactly one document on standard output, whatever the command and however it ends."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from model_provisioner.cli.declarations import COMMANDS
from model_provisioner.cli.exit_codes import exit_code_of
from model_provisioner.cli.reply.reply import Reply
from tests.support.project import DODO, TINY, Answer, document, settle
from tests.support.remote import wait_until

TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
ONE = f"models:\n  tiny:\n    model_ref: models/tiny.gguf\n    expected_digest: sha256:{TINY_SHA}\n"
TWO = (
    'defaults: {handoff: "{runtime_dir}/engines/{name}.json"}\n'
    "models:\n  first: {model_ref: models/tiny.gguf}\n  big: {model_ref: big.bin}\n"
)
LINES = {
    "provision": (),
    "add": ("models/tiny.gguf",),
    "list": (),
    "show": ("tiny",),
    "why": (),
    "path": ("tiny",),
    "lock": (),
    "check": (),
    "verify": (),
    "prune": ("--dry-run", "--older-than", "30d"),
    "retire": ("tiny", "--undo"),
    "attest": ("tiny",),
    "report": (),
    "publish": (),
    "mirror": ("--to", "s3://models/"),
    "schema": (),
    "completion": ("bash",),
}
"""What is asked of each command."""
APART = {"prune", "publish", "schema", "completion", "add"}
"""Those that are about no model."""


@pytest.fixture
def answered(tiny, command, request):
    """The project, and a fleet's database or a mirror for the command that needs one."""
    if command == "publish":
        tiny.environ["MODEL_PROVISIONER_FLEET_URL"] = request.getfixturevalue("fleet").url()
    if command == "mirror":
        tiny.environ.update(request.getfixturevalue("s3").environ())
        request.getfixturevalue("moto").client().create_bucket(Bucket="models")
        tiny.models(f"network: {{allow: [127.0.0.1]}}\n{ONE}")
    return tiny


@pytest.fixture
def tiny(project):
    project.add_tiny()
    project.models(ONE)
    settle()
    return project


def faces(project, command, *arguments, code=0):
    """Yield the document of a command under each of its names."""
    of_doit = command if command == "provision" else f"model-{command}"
    names = [(project.doit, of_doit), (project.program, command)]
    for run, name in names if command != "completion" else names[1:]:
        answer = run(name, *arguments, "--json", code=code)
        found = document(answer)
        assert found["command"] == command
        yield found, answer


# ---- one document


def test_every_command_is_asked_for_here():
    assert LINES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_one_document(answered, command):
    answered.provision()
    for found, answer in faces(answered, command, *LINES[command]):
        assert (found["errors"], answer.err) == ([], "")
        assert [model["name"] for model in found["models"]] == ([] if command in APART else ["tiny"])


@pytest.mark.parametrize("command", COMMANDS)
def test_on_bad_input_it_prints_one_too(tiny, command):
    for found, answer in faces(tiny, command, "--no-such-option", *LINES[command], code=3):
        (error,) = found["errors"]
        assert error["what"] == f"{command} has no option --no-such-option" or "no-such-option" in error["what"]
        assert answer.err.startswith(f"ERROR: {error['what']}\n")
        assert (found["models"], found["result"]) == ([], {})


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"schema", "completion", "publish"}))
def test_each_fault_of_the_configuration_is_an_error(tiny, command):
    tiny.provision()
    tiny.models("models:\n  a: {model_ref: x, engin: y}\n  b: {}\n")
    shown = command in {"list", "show"}  # the catalog is, all the same
    for found, _ in faces(tiny, command, *LINES[command], code=0 if shown else 3):
        assert [error["where"].partition(".yaml:")[2] for error in found["errors"]] == [
            "2, models → a → engin",
            "3, models → b",
        ]
        assert all(error["what"] and error["code"] for error in found["errors"])


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"schema", "completion", "lock", "add"}))
def test_a_broken_database_is_told_in_one(answered, command):
    answered.provision()
    (answered.state / "catalog.db").write_bytes(b"precious" * 1000)
    for found, _ in faces(answered, command, *LINES[command], code=2):
        assert found["errors"][-1]["what"] == "the catalog is damaged or not a database"


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"schema", "completion", "add", "publish"}))
def test_where_there_is_no_project_it_is_told_in_one(project, command):
    for found, _ in faces(project, command, *LINES[command], code=3):
        assert "no models.yaml here or in a folder above" in found["errors"][0]["what"] or command == "show"


@pytest.mark.parametrize(
    "line",
    [
        ["list", "--json", "--nonsense"],
        ["list", "--nonsense", "--json"],
        ["list", "--js", "x"],
        ["list", "--json=yes"],
        ["attest", "--key", "--json"],  # as a value it counts as well
        ["check", "--junit", "-", "--json"],
    ],
    ids=" ".join,
)
def test_it_counts_wherever_it_stands(tiny, line):
    assert document(tiny.program(*line, code=3))["command"] == line[0]
    assert document(tiny.doit(f"model-{line[0]}", *line[1:], code=3))["command"] == line[0]


def test_after_two_dashes_it_is_a_name(tiny):
    assert tiny.program("why", "--", "--json", code=3).out == ""


def test_a_line_without_a_command_has_a_document_of_none(tiny):
    for line in (["provisoin"], ["--offline"], ["help", "provisoin"]):
        found = document(tiny.program(*line, "--json", code=3))
        assert (found["command"], len(found["errors"])) == (None, 1)
    assert document(tiny.program("--version", "--json"))["result"].keys() == {"version"}


def test_help_is_help(tiny):
    assert tiny.program("list", "--json", "--help").out.startswith("usage: ")
    assert tiny.doit("model-list", "--json", "--help").out.startswith("usage: ")


def test_a_project_does_not_ask_for_it(tiny):
    tiny.write("doit.cfg", "[model-list]\njson = true\n[provision]\njson = true\n")
    assert not tiny.doit("model-list").out.startswith("{")
    assert not tiny.provision().out.startswith("{")


# ---- provision


def test_what_a_run_did_is_in_it(tiny):
    (did, _), (did_nothing, _) = faces(tiny, "provision")
    assert did == {
        "schema_version": 1,
        "command": "provision",
        "exit_code": 0,
        "models": [
            {
                "name": "tiny",
                "id": f"local:{tiny.root}/models/tiny.gguf",
                "state": "Active",
                "outcome": "pass",
                "digest": {"algo": "sha256", "value": TINY_SHA},
                "size_bytes": TINY.stat().st_size,
                "path": f"{tiny.root}/models/tiny.gguf",
                "handoff": f"{tiny.root}/.runtime/engines/llamacpp.json",
                "how": "hashed",
                "reasons": [
                    {"step": "verify", "text": "not verified before"},
                    {"step": "register", "text": "catalog row missing"},
                    {"step": "handoff", "text": "handoff missing"},
                ],
            }
        ],
        "errors": [],
        "result": {
            "counts": {"current": 0, "done": 1, "failed": 0, "left": 0, "retired": 0, "withdrawn": 0},
            "changed": ["tiny"],
            "removed": [],
            "withdrawn": [],
        },
    }
    (before,), (now,) = did["models"], did_nothing["models"]
    assert now == before | {"how": "stat", "reasons": []}
    assert did_nothing["result"]["counts"] | {"current": 1} == did_nothing["result"]["counts"]
    assert did_nothing["result"]["changed"] == []


def test_what_failed_is_an_error_of_its_model(tiny):
    tiny.provision()
    for _ in range(2):
        tiny.write("models/tiny.gguf", TINY.read_bytes()[:-1] + b"x")
    for found, _ in faces(tiny, "provision", code=1):
        (model,), (error,) = found["models"], found["errors"]
        assert (model["state"], model["outcome"], model["handoff"], model["how"]) == ("Failed", "fail", None, None)
        assert {**error, "found": None, "fix": None} == {
            "code": "DigestMismatchError",
            "model": "tiny",
            "what": "the digest differs from what is expected",
            "where": f"{tiny.root}/models/tiny.gguf",
            "expected": f"sha256:{TINY_SHA}",
            "found": None,
            "fix": None,
        }
        assert error["found"] == f"sha256:{model['digest']['value']}"
        assert found["result"]["counts"]["failed"] == 1


def test_a_mismatch_that_is_let_pass_is_an_error_of_a_run_that_succeeded(tiny):
    tiny.models(ONE.replace(TINY_SHA, "1" * 64) + "    strict_verification: false\n")
    for found, _ in faces(tiny, "provision", "--full"):
        (model,), (error,) = found["models"], found["errors"]
        assert (model["state"], model["outcome"], model["how"]) == ("Failed", "fail", "hashed")
        assert model["handoff"] is not None
        assert (error["code"], error["model"]) == ("DigestMismatchError", "tiny")


def test_what_was_withdrawn_and_removed_is_named(project):
    project.add_tiny()
    project.write("big.bin", b"x")
    project.models(TWO)
    project.provision()
    project.models(TWO.replace("  big:", "  large:"))
    (first, _), _ = faces(project, "provision")
    assert first["result"]["removed"] == [
        f"{project.root}/.runtime/{path}" for path in ("digests/big.sha256", "engines/big.json")
    ]
    (project.root / "big.bin").unlink()
    (first, _), _ = faces(project, "provision", code=1)
    assert first["result"]["withdrawn"] == ["large"]


def test_named_models_are_those_of_the_document(project):
    project.add_tiny()
    project.write("big.bin", b"x")
    project.models(TWO)
    for found, _ in faces(project, "provision", "big"):
        assert [model["name"] for model in found["models"]] == ["big"]


# ---- what a project prints


PRINTING = f"""{DODO}
import os, sys
print("while it is loaded")
os.write(1, b"past Python\\n")

def task_talk():
    return {{"actions": ["echo of a program", lambda: print("of a function")], "verbosity": 2}}

def task_fail():
    return {{"actions": ["echo no >&2; false"]}}
"""


def test_what_tasks_print_goes_to_stderr(tiny):
    tiny.write("dodo.py", PRINTING)
    answer = tiny.provision("talk", "tiny", "--json")
    assert document(answer)["models"][0]["state"] == "Active"
    for line in ("while it is loaded", "past Python", "of a program", "of a function"):
        assert f"{line}\n" in answer.err


def test_a_task_that_fails_is_an_error(tiny):
    tiny.write("dodo.py", PRINTING)
    answer = tiny.provision("fail", "tiny", "--json", code=1)
    found = document(answer)
    (error,) = found["errors"]
    assert (error["code"], error["model"], error["what"]) == ("TaskFailed", None, "the task fail failed")
    assert "echo no" in error["found"]
    assert found["models"][0]["state"] == "Active"


def test_a_model_whose_maker_fails_is_an_error_of_the_model(tiny):
    tiny.write(
        "dodo.py",
        f"{DODO}def task_make():\n    return {{'actions': ['false'], 'targets': ['models/tiny.gguf']}}\n",
    )
    found = document(tiny.provision("--json", code=1))
    assert [(error["code"], error["model"]) for error in found["errors"]] == [
        ("TaskFailed", None),
        ("UnmetDependency", "tiny"),
    ]
    assert found["result"]["counts"]["left"] == 1


def traced(project, *arguments):
    """Run doit where it ends in a traceback, of the project's own code."""
    with project.start(*arguments) as process:
        out, err = process.communicate(timeout=60)
    assert b"Traceback" in err
    return Answer(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ("raise SystemExit(7)\n", 7, "SystemExit"),
        ("def task_x():\n    return 5\n", 3, "InvalidTask"),
        ("def task_\n", 2, "InternalError"),
    ],
)
def test_a_dodo_that_ends_it_is_told(tiny, text, code, error):
    tiny.write("dodo.py", DODO + text)
    answer = tiny.process("provision", "--json", code=None) if code != 2 else traced(tiny, "provision", "--json")
    found = document(answer)
    assert (answer.code, [each["code"] for each in found["errors"]]) == (code, [error])


def test_another_reporter_reports_to_stderr(tiny):
    answer = tiny.provision("--json", "-r", "json")
    assert document(answer)["models"][0]["state"] == "Active"
    assert json.loads(answer.err)["tasks"]


# ---- a command that breaks half way


@pytest.fixture
def large(project):
    """A project whose second model takes some time."""
    project.add_tiny()
    with open(project.write("big.bin", b""), "wb") as file:
        file.truncate(16 << 30)
    project.models(TWO)
    return project


def interrupted(project, program, *arguments, when=lambda: True):
    """Interrupt a command while it reads the large model and `when` holds; return what it answered."""
    command = [sys.executable, "-m", program, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=project.root, env=project.surroundings(), **pipes) as run:
        wait_until(lambda: is_open(run.pid, project.root / "big.bin") and when())
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    return Answer(run.returncode, out.decode(), err.decode())


def is_open(pid, path):
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return str(path) in found


@pytest.mark.slow
@pytest.mark.parametrize("program", ["doit", "model_provisioner"])
def test_an_interrupted_run_tells_what_it_did(large, program):
    answer = interrupted(large, program, "provision", "--json", when=lambda: large.handoff("first") is not None)
    found = document(answer)
    assert (answer.code, [error["code"] for error in found["errors"]]) == (130, ["Interrupted"])
    first, big = found["models"]
    assert (first["state"], first["how"], big["state"], big["how"]) == ("Active", "hashed", "Pending", None)
    assert found["result"]["counts"] | {"done": 1, "left": 1} == found["result"]["counts"]


@pytest.mark.slow
def test_an_interrupted_audit_tells_what_it_audited(project):
    project.add_tiny()
    project.write("big.bin", b"x")
    project.models(TWO)
    project.provision()
    with open(project.root / "big.bin", "wb") as file:
        file.truncate(16 << 30)
    with closing(sqlite3.connect(project.state / "catalog.db")) as connection, connection:
        connection.execute("UPDATE model SET audited_at = '2020-01-01T00:00:00Z' WHERE name = 'first'")

    def is_noted():
        with closing(sqlite3.connect(project.state / "catalog.db")) as connection:
            ((audited_at,),) = connection.execute("SELECT audited_at FROM model WHERE name = 'first'")
        return not audited_at.startswith("2020")

    found = document(interrupted(project, "model_provisioner", "verify", "--full", "--json", when=is_noted))
    assert found["exit_code"] == 130
    assert [each["name"] for each in found["result"]["audited"]] == ["first"]
    assert found["result"]["left"] == ["big"]
    assert [(model["name"], model["how"]) for model in found["models"]] == [("big", None), ("first", "hashed")]


@pytest.mark.slow
def test_an_interrupted_lock_tells_what_failed(large):
    large.models(TWO.replace("models/tiny.gguf", "nowhere.gguf"))
    found = document(interrupted(large, "model_provisioner", "lock", "--json"))
    assert [(error["code"], error["model"]) for error in found["errors"]] == [
        ("ModelNotFoundError", "first"),
        ("Interrupted", None),
    ]


def test_a_document_that_can_not_be_written_is_told(tiny):
    run = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m model_provisioner provision --json > /dev/full"],
        cwd=tiny.root, env=tiny.surroundings(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (
        2,
        "ERROR: the output could not be written\n  found     No space left on device\n",
    )
    assert tiny.handoff()


@pytest.mark.parametrize("output", ["| true", ">&-"])
def test_a_document_that_nobody_reads_changes_nothing(tiny, output):
    command = f"'{sys.executable}' -m model_provisioner provision nope --json {output}"
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tiny.root, env=tiny.surroundings(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 3
    assert run.stderr.startswith("ERROR: there is no model 'nope'\n")


def test_an_error_of_the_program_is_told_in_a_document_and_as_a_traceback(capfd):
    def command():
        raise KeyError("what nobody foresaw")

    assert exit_code_of(command, interrupted="", reply=Reply("list", is_json=True)) == 2
    out, err = capfd.readouterr()
    (error,) = document(Answer(2, out, err))["errors"]
    assert (error["code"], error["found"]) == ("InternalError", "KeyError('what nobody foresaw')")
    assert err.startswith("Traceback (most recent call last):\n")


def test_names_that_are_no_text_are_whole(project):
    name = os.fsdecode(b"x\xff.gguf")
    (project.root / name).write_bytes(TINY.read_bytes())
    project.models('models: {x: {model_ref: "x.gguf"}}\n')
    (project.root / "x.gguf").symlink_to(name)
    assert document(project.provision("--json"))["models"][0]["path"]
