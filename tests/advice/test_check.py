"""What `model-check` advises for a difference makes the project as a fresh build would make it."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.support.advice import advised, fixes, follow
from tests.support.project import TINY, settle
from tests.support.remote import FLIPPED, TINY_SHA

HANDOFF = ".runtime/engines/llamacpp.json"
TARGET = ".runtime/digests/t.sha256"
OLD = {"handoff": "{runtime_dir}/old.json"}


def models(project, **entries):
    pinned = {"model_ref": "models/tiny.gguf", "expected_digest": f"sha256:{TINY_SHA}"}
    project.models(json.dumps({"models": {name: {**pinned, **fields} for name, fields in entries.items()}}))


@pytest.fixture
def same(local):
    """A project that is as a fresh build would make it."""
    models(local, t={})
    local.doit("model-lock")
    local.provision()
    local.doit("model-check")
    settle()
    return local


def catalog(project, statement):
    with closing(sqlite3.connect(project.state / "catalog.db")) as connection, connection:
        connection.execute(statement)


def edit(project, name, old, new):
    path = project.root / name
    path.write_text(path.read_text().replace(old, new, 1))


def unlocked(project):
    (project.root / "models.lock").unlink()


def another_reference(project):
    shutil.copy(TINY, project.root / "models/copy.gguf")
    models(project, t={"model_ref": "models/copy.gguf"})


def an_entry_less(project):
    models(project, t={}, old=OLD)
    project.doit("model-lock")
    project.provision()
    models(project, t={})


def unrecorded(project):
    (build,) = project.state.glob("projects/*/build.db")
    build.unlink()


def no_handoff(project):
    (project.root / HANDOFF).unlink()


def taken(project):
    project.write(HANDOFF, "of the user")


def edited(project):
    edit(project, HANDOFF, "pass", "fail")


def no_target(project):
    (project.root / TARGET).unlink()


def edited_target(project):
    edit(project, TARGET, TINY_SHA, "0" * 64)


def no_row(project):
    catalog(project, "DELETE FROM model")


def another_row(project):
    catalog(project, "UPDATE model SET engine = 'vllm'")


def a_row_with_other_metadata(project):
    catalog(
        project, "UPDATE model SET metadata = replace(metadata, '\"context_length\": 256', '\"context_length\": 512')"
    )


def an_unknown_handoff(project):
    shutil.copy(project.root / HANDOFF, project.root / ".runtime/engines/other.json")


def a_handoff_of_a_retired(project):
    data = (project.root / HANDOFF).read_bytes()
    project.doit("model-retire", "t")
    project.write(HANDOFF, data)


def lock(project):
    project.doit("model-lock")
    project.provision()


def provision(project):
    project.provision()


def remove_it(project):
    (project.root / ".runtime/engines/other.json").unlink()


def move_away(project):
    (project.root / HANDOFF).rename(project.root / "notes")
    project.provision()


@pytest.mark.parametrize(
    ("sentence", "change", "mend"),
    [
        ("run `doit model-lock`, or take models.yaml and models.lock from version control", another_reference, lock),
        (
            "run `doit model-lock`, which drops it, or take models.yaml from version control",
            an_entry_less,
            lock,
        ),
        ("run `doit provision`, which removes it", an_entry_less, lock),
        ("run `doit provision`, which removes it", a_handoff_of_a_retired, provision),
        ("run `doit provision`, which records it", unrecorded, provision),
        ("run `doit provision`, which writes it", no_handoff, provision),
        ("move it away and run `doit provision`", taken, move_away),
        ("run `doit provision`, which writes it again", edited, provision),
        ("run `doit provision`, which writes it", no_target, provision),
        ("run `doit provision`, which writes it", edited_target, provision),
        ("run `doit provision`, which registers it", no_row, provision),
        ("run `doit provision`, which registers it again", another_row, provision),
        ("remove it, for engines start what it names", an_unknown_handoff, remove_it),
    ],
)  # fmt: skip
def test_what_is_advised_makes_the_project_the_same_again(same, sentence, change, mend):
    change(same)
    advised(same.doit("model-check", code=1), sentence)
    mend(same)
    same.doit("model-check")


def test_what_only_a_full_check_sees_is_mended_by_a_full_run(same):
    a_row_with_other_metadata(same)
    advised(same.doit("model-check", "--full", code=1), "run `doit provision --full`, which registers it again")
    same.provision("--full")
    same.doit("model-check", "--full")


@pytest.mark.parametrize("ref", ["local", "remote"])
def test_what_nothing_pins_is_locked(local, tiny, ref):
    project = local if ref == "local" else tiny.project
    if ref == "local":
        local.models("models: {t: {model_ref: models/tiny.gguf}}")
    project.provision()
    sentence = "run `doit model-lock`, and keep models.lock under version control"
    advised(project.doit("model-check", code=None), sentence)
    project.doit("model-lock")
    project.provision()
    assert fixes(project.doit("model-check")) == []


@pytest.mark.parametrize("way", ["got again", "accepted"])
def test_a_model_that_is_not_the_locked_one_is_got_again_or_accepted(local, way):
    local.models("models: {t: {model_ref: models/tiny.gguf}}")
    local.doit("model-lock")
    local.provision()
    local.write("models/tiny.gguf", FLIPPED)
    answer = local.doit("model-check", code=1)
    sentence = (
        "get the model again from its source, or take models.lock from version control; if what is here is right, {}"
    )
    advised(answer, sentence)
    if way == "accepted":
        (text,) = {each for each in fixes(answer) if "if what is here is right" in each}
        follow(local, "t", text)
    else:
        shutil.copy(TINY, local.root / "models/tiny.gguf")
    local.provision()
    local.doit("model-check")


# ---- places that are taken, and runs that require something


def test_the_place_of_a_handoff_that_is_taken_is_left_or_another_named(local):
    local.models("models: {t: {model_ref: models/tiny.gguf}}")
    local.write(HANDOFF, "of the user")
    name, config = advised(local.provision(code=1), "move it away, or give {} another handoff in {}")
    assert (name, config) == ("t", str(local.root / "models.yaml"))
    local.models("models: {t: {model_ref: models/tiny.gguf, handoff: '{runtime_dir}/t.json'}}")
    local.provision()
    (local.root / HANDOFF).unlink()
    local.models("models: {t: {model_ref: models/tiny.gguf}}")
    local.provision()


def test_two_projects_write_into_folders_of_their_own(local, tmp_path):
    local.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = str(tmp_path / "served")
    local.provision()
    other = tmp_path / "other"
    shutil.copytree(local.root, other)
    sentence = "set MODEL_PROVISIONER_RUNTIME_DIR to a folder of its own for each project"
    advised(local.provision(cwd=other, code=None), sentence)
    local.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = str(tmp_path / "served too")
    local.provision(cwd=other)


def test_a_run_that_takes_what_is_locked_is_given_a_lock(local):
    local.models("models: {t: {model_ref: models/tiny.gguf}}")
    local.doit("model-lock")
    shutil.copy(TINY, local.root / "models/copy.gguf")
    local.models("models: {t: {model_ref: models/copy.gguf}}")
    advised(local.provision("--locked", code=None), "run `doit model-lock` where you may, and commit models.lock")
    local.doit("model-lock")
    local.provision("--locked")


def test_a_run_that_requires_digests_names_the_lines_that_it_wants(local):
    for _ in range(2):  # the model, then its projector
        answer = local.provision("--require-digest", code=1)
        advised(answer, "if these bytes are right, put   {}   into models.yaml")
        follow(local, "t", fixes(answer)[0])
    assert "pass  t" in local.provision("--require-digest").out


def test_a_retired_model_is_put_back_by_a_program(same, monkeypatch):
    from model_provisioner import provision_from_config_to_default_handoff
    from model_provisioner.errors import RetiredModelError

    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(same.state))
    same.doit("model-retire", "t")
    with pytest.raises(RetiredModelError) as caught:
        provision_from_config_to_default_handoff(str(same.root / "models.yaml"))
    assert caught.value.fix.startswith("model-provisioner retire --undo t")
    same.doit("model-retire", "--undo", "t")
    provision_from_config_to_default_handoff(str(same.root / "models.yaml"))
