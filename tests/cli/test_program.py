"""The program `model-provisioner`: the same work as doit's, by its own name."""

import os
import subprocess
import sys

import pytest

from model_provisioner.cli.declarations import COMMANDS
from model_provisioner.cli.help import help_of
from model_provisioner.version import __version__
from tests.support.project import DODO, document, settle, settle_in_every_process

ONE = "models: {tiny: {model_ref: tiny.gguf, handoff: .runtime/engines/llamacpp.json}}\n"


@pytest.fixture
def one(project):
    """A project of one model."""
    project.add_tiny("tiny.gguf")
    project.models(ONE)
    return project


def imported_by(project, *arguments):
    """Run the program; return the modules that it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "model_provisioner", *arguments]
    run = subprocess.run(
        command, cwd=project.root, env=project.surroundings(), capture_output=True, text=True, check=True
    )
    return run.stdout, {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}


# ---- provision


def test_a_model_is_provisioned(one):
    answer = one.program("provision")
    assert answer.out.startswith("warn  tiny  hashed 105.2 KB (not verified before) → .runtime/engines/llamacpp.json\n")
    assert "1 model: 1 done (" in answer.out
    assert one.handoff()["model"]["path"] == str(one.root / "tiny.gguf")


def test_with_nothing_to_do_it_imports_neither_typing_nor_dataclasses(one):
    one.program("provision")
    settle_in_every_process()
    one.program("provision")
    out, imported = imported_by(one, "provision")
    assert "1 model: 1 current" in out
    assert {name for name in imported if name.startswith("model_provisioner")} == {
        "model_provisioner",
        "model_provisioner.cli",
        "model_provisioner.cli.arguments",
        "model_provisioner.cli.command",
        "model_provisioner.cli.declarations",
        "model_provisioner.cli.program",
        "model_provisioner.cli.project",
        "model_provisioner.cli.summary",
        "model_provisioner.collector",
        "model_provisioner.engine",
        "model_provisioner.engine.snapshot",
        "model_provisioner.engine.snapshot.compare",
        "model_provisioner.errors",
        "model_provisioner.fs",
        "model_provisioner.fs.ownership",
        "model_provisioner.fs.read",
        "model_provisioner.fs.state_folder",
        "model_provisioner.invocation",
        "model_provisioner.records",
        "model_provisioner.records.last_run",
        "model_provisioner.records.stat_snapshot",
        "model_provisioner.settings",
        "model_provisioner.store",
        "model_provisioner.store.last_use",
        "model_provisioner.version",
    }
    assert not imported & {"typing", "dataclasses", "json", "re", "sqlite3", "threading", "doit", "yaml", "pydantic"}


FIRST_RUN = {
    "cli": """arguments ci ci.github_annotations ci.report command declarations exit_codes output program progress
        progress.lines project reply reply.fields reply.reply reply.run run_line summary""",
    "config": """cache document entries faults fields load locked lockfile network_policy paths reader schema source_file
        source_map""",
    "engine": """batches entry_run events fetching fetching.mirrors hand_off publish register resolve retention
        retention.usage rules run snapshot snapshot.begin snapshot.compare snapshot.remember up_to_date verification
        verification.corruption verification.examine verification.outcome verification.reader verification.signatures
        verification.wrong verify withdrawal withdrawal.orphans withdrawal.sweep withdrawal.withdraw workspace""",
    "fs": """atomic clock fileset folder identity locking locking.locks locking.reach locking.renewal locking.waits mounts
        ownership paths read root secret sqlite state_folder unreachable""",
    "hashing": "executors fingerprint memo memo_rows streaming sync threads",
    "headers": "compatibility gguf gguf_cursor gguf_metadata gguf_types metadata reader whole",
    "provenance": "log record verifications",
    "records": """artifacts catalog catalog.catalog catalog.database checksums handoff last_run lifecycle makers snapshot
        stat_snapshot""",
    "references": """artifact_name digest file_names hub_name hub_url mirror object_name path_environment reference shards
        shown url_name""",
    "store": "blobs last_use layout lease refs store tree usage",
}
"""What a first run of a local GGUF needs, by room. Each module takes 0.1 to 5 ms, and nine tenths of such a run are imports."""
ALONE = {"arguments", "collector", "errors", "invocation", "json_text", "settings", "units", "version"}


def test_a_first_run_imports_what_a_local_model_needs_and_no_more(one):
    out, imported = imported_by(one, "provision")
    assert "1 model: 1 done" in out
    ours = {name.removeprefix("model_provisioner.") for name in imported if name.startswith("model_provisioner.")}
    needed = {f"{room}.{name}" for room, names in FIRST_RUN.items() for name in names.split()}
    assert ours == needed | FIRST_RUN.keys() | ALONE
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert not others & {"boto3", "certifi", "doit", "huggingface_hub", "model_signing", "rich", "sigstore", "tqdm"}
    assert not imported & {
        "asyncio",
        "concurrent.futures",
        "http.client",
        "logging",
        "ssl",
        "traceback",
        "urllib.request",
    }


def test_it_imports_no_doit_and_runs_no_dodo(one):
    one.write("dodo.py", "raise SystemExit('the dodo.py of a project was run')\n")
    out, imported = imported_by(one, "provision")
    assert "1 model: 1 done" in out
    assert not any(name.partition(".")[0] == "doit" for name in imported)


@pytest.mark.parametrize("catalog", ["another project", "this one"])
def test_what_another_run_notes_in_the_catalog_counts(one, catalog):
    one.program("provision")
    settle()
    one.program("provision")
    if catalog == "this one":
        one.program("retire", "tiny")
        assert "1 model: 1 retired" in one.program("provision").out
        assert one.handoff() is None
    else:
        other = one.root.parent / "other"
        other.mkdir()
        (other / "models.yaml").write_text(ONE)
        (other / "tiny.gguf").write_bytes((one.root / "tiny.gguf").read_bytes())
        one.program("provision", cwd=other)
        assert "1 model: 1 current" in one.program("provision").out


def test_named_models_are_done_and_no_others(project):
    for name in "ab":
        project.add_tiny(f"{name}.gguf")
    handoff = '"{runtime_dir}/engines/{name}.json"'
    project.models(
        f"defaults: {{handoff: {handoff}}}\nmodels: {{a: {{model_ref: a.gguf}}, b: {{model_ref: b.gguf}}}}\n"
    )
    assert "1 model: 1 done" in project.program("provision", "b").out
    assert project.handoff("a") is None


def test_quiet_says_nothing_but_warnings_and_failures(one):
    digest = one.program("provision").out.split("sha256:")[1][:64]
    one.models(ONE.replace("tiny.gguf,", f'tiny.gguf, expected_digest: "sha256:{digest}",'))
    for face in (one.program, one.doit):
        os.utime(one.root / "tiny.gguf")
        assert face("provision", "--quiet").all == ""
    one.write("tiny.gguf", b"no model")
    for face in (one.program, one.doit):
        out = face("provision", "--quiet", code=1).out
        assert out.startswith("FAIL  tiny  ")
        assert "1 model: 1 failed" in out


def test_a_withdrawn_handoff_is_told(one):
    one.program("provision")
    one.write("tiny.gguf", b"GGUF but broken")
    answer = one.program("provision", code=1)
    assert "its handoff was withdrawn" in answer.out
    assert one.handoff() is None


# ---- a project with tasks


def test_a_missing_file_that_a_task_makes_is_doits_to_make(project):
    project.add_tiny("source.gguf")
    project.models(ONE)
    project.write(
        "dodo.py",
        f"{DODO}def task_make():\n    return {{'actions': ['cp source.gguf tiny.gguf'], 'targets': ['tiny.gguf']}}\n",
    )
    assert "a task of dodo.py makes it: run `doit provision`" in project.program("provision", code=1).out
    project.provision()
    (project.root / "tiny.gguf").unlink()
    assert "a task of dodo.py makes it: run `doit provision`" in project.program("provision", code=1).out


def test_a_missing_file_that_no_task_makes_is_no_task_s(project):
    project.add_tiny("tiny.gguf")
    project.models(ONE)
    project.write("dodo.py", DODO)
    project.provision()
    (project.root / "tiny.gguf").unlink()
    assert "doit" not in project.program("provision", code=1).out


# ---- help, and what is typed wrong


def test_the_version_is_told(project):
    assert project.program("--version").out == f"model-provisioner {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"], ["help", "-h"]])
def test_its_help_names_every_command_and_how_to_begin(project, arguments):
    out = project.program(*arguments).out
    assert out.startswith("usage: model-provisioner COMMAND [NAME...] [OPTION...]\n")
    assert all(f"  {name}  " in out for name in COMMANDS)
    assert "To begin: model-provisioner add" in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_both_names(project, name):
    command = COMMANDS[name]
    texts = [project.program(*line).out for line in ([name, "-h"], [name, "x", "--help"], ["help", name])]
    assert texts[0] == texts[1] == texts[2]
    assert texts[0].startswith(f"usage: model-provisioner {name}")
    assert f"example: model-provisioner {name}" in texts[0]
    assert all(f"--{option.long}" in texts[0] for option in command.options)
    if name == "completion":
        return  # doit has its own
    of_doit = name if name == "provision" else f"model-{name}"
    text = project.doit(of_doit, "--help").out
    assert text.startswith(f"usage: doit {of_doit}")
    assert f"example: doit {of_doit}" in text
    assert "CmdOption" not in text


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["provisoin"], "there is no command 'provisoin'", "did you mean provision?"),
        (["zzz"], "there is no command 'zzz'", "see `model-provisioner help`"),
        (["help", "provisoin"], "there is no command 'provisoin'", "did you mean provision?"),
        (["--offline"], "there is no option '--offline' before a command", "see `model-provisioner help`"),
        (["provision", "--ofline"], "provision has no option --ofline", "did you mean --offline?"),
        (["provision", "-z"], "provision has no option -z", "see `model-provisioner help provision`"),
        (["provision", "--offline=yes"], "--offline takes no value", "see `model-provisioner help provision`"),
        (["lock", "--upgrade"], "--upgrade needs a value", "see `model-provisioner help lock`"),
        (["add", "-x.gguf"], "add has no option -x.gguf", "did you mean the file: ./-x.gguf?"),
        (["check", "tiny"], "check takes no names", "see `model-provisioner help check`"),
        (["attest", "--k"], "--k needs a value", "see `model-provisioner help attest`"),
        (["provision", "tniy"], "there is no model 'tniy'", "did you mean tiny?"),
        (["why", "zzz"], "there is no model 'zzz'", "`model-provisioner list` shows those that there are"),
    ],
)
def test_what_is_typed_wrong_is_told_with_the_nearest_right_one(one, arguments, what, fix):
    one.write("-x.gguf", b"")
    answer = one.program(*arguments, code=3)
    first, *rest = answer.err.splitlines()
    assert first == f"ERROR: {what}"
    assert rest[-1].startswith(f"  fix       {fix}")
    assert answer.out == ""


def test_what_is_missing_or_unknown_is_named(one):
    err = one.program("lock", "--upgrade", code=3).err
    assert "  expected  --upgrade NAME\n  found     nothing after it\n" in err
    assert "  found     --ofline\n" in one.program("provision", "--ofline", code=3).err
    assert one.doit("model-add", code=3).err.startswith("ERROR: model-add takes a REF, or several\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_of_a_usage_ends_within_an_option(name):
    usage = help_of(COMMANDS[name]).partition("\n\n")[0]
    assert all(line.count("[") == line.count("]") for line in usage.splitlines()), usage


def test_help_is_a_document_too(project):
    assert document(project.program("help", "lock", "--json"))["result"]["help"] == project.program("help", "lock").out


@pytest.mark.parametrize(
    ("arguments", "fix"), [(["provision", "--ofline"], "--offline"), (["model-lock", "--upgrad-", "x"], "--upgrade")]
)
def test_doit_tells_the_nearest_option_too(one, arguments, fix):
    assert one.doit(*arguments, code=3).err.endswith(f"  fix       did you mean {fix}?\n")


def test_options_may_be_shortened_and_stand_anywhere(one):
    one.program("provision")
    for line in (["list", "--js"], ["why", "tiny", "--json"], ["why", "--json", "--", "tiny"]):
        assert [model["name"] for model in document(one.program(*line))["models"]] == ["tiny"]
