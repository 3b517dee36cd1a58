"""What a command advises who typed it otherwise than it takes it is what it takes."""

import os
import shlex

import pytest

from tests.support.advice import advised, commands, fix
from tests.support.project import DODO
from tests.support.remote import TINY_BYTES
from tests.support.users import as_root


@pytest.fixture
def done(local):
    local.provision()
    return local


@pytest.mark.parametrize(
    ("sentence", "typed", "mended"),
    [
        ("leave {} out, or leave --verify out", "model-attest --verify s.json --force", "model-attest t --verify s.json"),
        ("leave {} out, or leave --verify out", "model-attest --verify s.json -o x", "model-attest t -o x"),
        ("leave {} out, or add --verify FILE", "model-attest t --full", "model-attest t"),
        ("leave {} out, or add --verify FILE", "model-attest t --full", "model-attest t --full --verify s.json"),
        ("give it as `doit model-list` shows it", "model-attest t u", "model-attest t"),
        ("give it as `doit model-list` shows it", "model-show", "model-show t"),
        ("give it as `doit model-list` shows it", "model-retire", "model-retire t"),
        ("give it as `doit model-list` shows it", "model-path", "model-path t"),
        ("--junit {}.xml; --json is for standard output", "model-check --junit -", "model-check --junit c.xml"),
        ("write --older-than 30d", "model-prune --older-than ages", "model-prune --older-than 30d"),
        ("add one of them", "model-prune", "model-prune --older-than 30d"),
        ("doit model-report -o report.html", "model-report", "model-report -o report.html"),
        ("see `doit model-list`, or `doit model-list --all`", "model-show x", "model-show t"),
        ("write it as in   {} {}", "model-verify --older-than ages", "model-verify --older-than 30d"),
        ("write it as in   {} {}", "model-verify --max-bytes much", "model-verify --max-bytes 200GB"),
        ("see `doit help model-{}`", "model-lock t", "model-lock"),
        ("`doit model-show NAME` shows a model of the project", "model-list t", "model-show t"),
        ("write doit model-list hf:{}", "model-list hf:org/repo:Q4_K_M", "model-list"),
        ("name a repository of the Hub, or an artifact of a registry", "model-list https://host/x.gguf", "model-list"),
        ("see `doit help model-{}`", "model-why --xyz", "model-why t"),
        ("did you mean {}?", "model-why tt", "model-why t"),
        ("`doit list --all` shows the tasks that can be named as well", "model-retire zzz", "model-retire t"),
        ("name a file after {}", "model-report -o models", "model-report -o models.html"),
        ("name a file after {}", "model-attest t -o new/", "model-attest t -o new"),
        (
            "name another file after {}, or add --force to replace this one",
            "model-report -o notes.txt",
            "model-report -o report.html",
        ),
        (
            "name another file after {}, or add --force to replace this one",
            "model-report -o notes.txt",
            "model-report -o notes.txt --force",
        ),
        (
            "name another file: --force does not change that",
            "model-report -o models.yaml --force",
            "model-report -o report.html",
        ),
        ("name another file after -o", "provision -o nowhere/out.txt", "provision -o out.txt"),
    ],
)  # fmt: skip
def test_what_is_advised_is_taken(done, sentence, typed, mended):
    done.write("notes.txt", "of the user")
    pin = advised_pin(done)
    done.models(f"models: {{t: {{model_ref: models/tiny.gguf, expected_digest: '{pin}'}}}}")
    done.provision()
    done.doit("model-lock")
    (done.root / "s.json").write_text(done.doit("model-attest", "t").out)
    advised(done.doit(*shlex.split(typed), code=3), sentence)
    done.doit(*shlex.split(mended))


def advised_pin(project):
    return project.rows()["t"]["digest"]


def test_a_name_that_doit_lists_can_be_named(local):
    local.write("dodo.py", DODO + "def task_other():\n    return {'actions': ['true']}\n")
    advised(local.doit("model-retire", "othre", code=3), "`doit list --all` shows the tasks that can be named as well")
    assert "other" in local.doit("list", "--all").out
    local.provision("other")


def test_outside_of_a_project_one_is_entered_or_the_machine_is_asked(done, tmp_path):
    sentence = "to begin one: `{}`; or go to a project's folder, or ask for the whole machine: {}"
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "dodo.py").write_text(DODO)
    answer = done.doit("model-list", cwd=aside, code=3)
    advised(answer, sentence)
    done.doit(*shlex.split(fix(answer).rpartition(": ")[2])[1:], cwd=aside)
    done.doit("model-list")
    (begin,) = commands(fix(answer))
    done.doit(*begin[:-1], str(done.root / "models/tiny.gguf"), cwd=aside)
    done.doit("model-list", cwd=aside)


def test_another_shell_is_one_of_those_that_are_known(done):
    advised(done.program("completion", "tcsh", code=3), "model-provisioner completion bash")
    assert done.program("completion", "bash").out.startswith("_model_provisioner() {")


def test_a_file_that_is_nearly_called_so_is_renamed(done):
    (done.root / "models.yaml").rename(done.root / "models.yml")
    (name,) = advised(done.program("list", code=3), "mv {} models.yaml")
    (done.root / name).rename(done.root / "models.yaml")
    done.program("list")


def test_a_report_takes_a_time_or_that_of_now(done):
    done.environ["SOURCE_DATE_EPOCH"] = "yesterday"
    sentence = "set it to such a number, or unset it: then the report has the time of now"
    advised(done.doit("model-report", "-o", "report.html", code=3), sentence)
    done.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    done.doit("model-report", "-o", "report.html")
    del done.environ["SOURCE_DATE_EPOCH"]
    done.doit("model-report", "-o", "report.html")


@pytest.mark.parametrize(
    ("sentence", "typed", "option"),
    [
        ("fix that, or name another file after -o", "model-attest t", "-o"),
        ("fix that, or name another file after -o; a report that was there is as it was", "model-report", "-o"),
        (
            "fix that, or name another file after --presets; one that was there is as it was",
            "model-report",
            "--presets",
        ),
        ("name another file after --junit", "model-check", "--junit"),
    ],
)
def test_a_file_that_can_not_be_written_is_another(done, tmp_path, sentence, typed, option):
    done.doit("model-lock")
    done.provision()
    out = tmp_path / "full"
    out.mkdir()
    mount = f"mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs {shlex.quote(str(out))}"
    code, said = done.mounted(mount, *shlex.split(typed), option, str(out / "x"))
    assert (code, said.rstrip().rpartition("fix       ")[2]) == (2, sentence), said
    done.doit(*shlex.split(typed), option, str(tmp_path / "x"))


def test_a_model_that_was_retired_comes_back_by_the_command_that_is_told(done):
    done.doit("model-retire", "t")
    needing = "{'actions': ['true'], 'file_dep': ['.runtime/engines/llamacpp.json']}"
    done.write("dodo.py", f"{DODO}def task_use():\n    return {needing}\n")
    answer = done.doit("run", "use", code=None)
    advised(answer, "doit model-retire --undo {}, then doit provision; or leave out what needs it")
    done.doit("model-retire", "--undo", "t")
    done.provision()
    done.doit("run", "use")
    assert done.handoff() is not None


def test_a_model_that_was_never_provisioned_is_verified_after_the_command_that_is_told(local):
    answer = local.doit("model-verify", "t", code=3)
    assert advised(answer, "doit provision {}") == ("t",)
    local.doit(*shlex.split(fix(answer))[1:])
    local.doit("model-verify", "t")


def test_a_statement_of_what_was_never_provisioned_is_had_after_the_command_that_is_told(local):
    assert advised(local.doit("model-attest", "t", code=1), "run `doit provision {}`") == ("t",)
    local.provision("t")
    local.doit("model-attest", "t")


def test_doits_state_is_kept_where_it_is_advised(done, tmp_path):
    sentence = "take dep_file out, and it lies in the state folder; or name the file yourself after --db-file"
    done.write("doit.cfg", f"[GLOBAL]\ndep_file = {tmp_path}/outside.db\n")
    advised(done.provision(code=3), sentence)
    done.provision("--db-file", f"{tmp_path}/outside.db")
    (done.root / "doit.cfg").unlink()
    done.provision()


def test_doits_state_is_printed_from_a_file_that_holds_some(done, tmp_path):
    sentence = "name the file after --db-file; those of doit's backends json and sqlite3 are read by other programs"
    done.write("notes.db", "of the user")
    advised(done.doit("dumpdb", "--db-file", "notes.db", code=2), sentence)
    done.provision("--db-file", f"{tmp_path}/doit.db")
    done.doit("dumpdb", "--db-file", f"{tmp_path}/doit.db")


@as_root
def test_the_project_of_another_user_is_entered_or_trusted(done):
    sentence = "if you trust that user: cd {}, or set MODEL_PROVISIONER_TRUST_OWNER=1"
    below = done.root / "below"
    below.mkdir()
    os.chown(done.root, 1001, 1001)
    (folder,) = advised(done.doit("model-list", cwd=below, code=3), sentence)
    done.doit("model-list", cwd=shlex.split(folder)[0])
    done.environ["MODEL_PROVISIONER_TRUST_OWNER"] = "1"
    done.doit("model-list", cwd=below)


def test_several_models_are_provisioned_by_the_command_that_is_told(done, monkeypatch):
    from model_provisioner import provision_from_config_to_default_handoff
    from model_provisioner.errors import InputError

    done.write("models/u.gguf", TINY_BYTES)
    entries = ", ".join(f"{n}: {{model_ref: models/tiny.gguf, handoff: '{n}.json'}}" for n in "tu")
    done.models(f"models: {{{entries}}}")
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(done.state))
    with pytest.raises(InputError) as caught:
        provision_from_config_to_default_handoff(str(done.root / "models.yaml"))
    (fault,) = caught.value.faults
    assert fault.fix == "run `doit provision` for a file of several models".replace("doit", "model-provisioner")
    done.provision()


def test_a_state_of_doits_own_backends_is_deleted(done):
    sentence = "free some space if its disk is full, wait if another run holds it; else delete it: that may be done at any time"
    state = done.write("state.json", "{")
    own = ("--backend", "json", "--db-file", "state.json")
    advised(done.provision(*own, code=2), sentence)
    state.unlink()
    done.provision(*own)


def test_a_model_that_a_task_makes_is_made_by_doit(local):
    local.models("models: {m: {model_ref: made.gguf}}")
    making = "{'actions': ['cp models/tiny.gguf made.gguf'], 'targets': ['made.gguf']}"
    local.write("dodo.py", f"{DODO}def task_make():\n    return {making}\n")
    local.provision()
    (local.root / "made.gguf").unlink()
    sentence = "a task of dodo.py makes it: run `doit provision`; else {}"
    advised(local.program("provision", code=1), sentence)
    local.provision()
    local.program("provision")
