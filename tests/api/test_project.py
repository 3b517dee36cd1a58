"""A configuration file from Python: `provision`, and the verbs for a file of one model."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from model_provisioner import (
    ConfigError,
    Digest,
    DigestMismatchError,
    DigestRequiredError,
    FailedModelsError,
    FetchBegins,
    InputError,
    InvalidReferenceError,
    ModelEnded,
    ModelResult,
    NotAllowedError,
    NotLockedError,
    OccupiedError,
    ResolvedModel,
    RetiredModelError,
    StorageError,
    UnknownModelError,
    UnsoundModelError,
    WorkBegins,
    provision,
    provision_from_config_to_default_handoff,
    provision_from_config_to_handoff,
)
from tests.support.project import TINY, settle
from tests.support.remote import ONE, TINY_BYTES

TINY_SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
WRONG = Digest("sha256", "0" * 64)


@pytest.fixture
def config(model, monkeypatch):
    path = model.parent / "config" / "model.yaml"
    path.parent.mkdir()
    path.write_text(f"model_ref: {model.name}\nexpected_digest: sha256:{TINY_SHA}\n")
    monkeypatch.chdir(model.parent)
    return path


def test_the_document_of_one_model_is_handed_off_from_the_working_directory(config, model):
    settle()
    found = provision_from_config_to_default_handoff(config)
    assert found == ResolvedModel(f"local:{model}", model, Digest("sha256", TINY_SHA), model.stat().st_size, "pass")
    handoff = (model.parent / ".runtime/engines/llamacpp.json").read_bytes()
    assert b'"verification": "pass"' in handoff
    assert not (config.parent / ".runtime").exists()
    before = os.stat(model.parent / ".runtime/engines/llamacpp.json")
    provision_from_config_to_default_handoff(str(config), cache_dir=model.parent / "cache")
    assert os.stat(model.parent / ".runtime/engines/llamacpp.json") == before


def test_a_mismatch_withdraws_the_older_handoff(config, model):
    provision_from_config_to_default_handoff(config)
    config.write_text(f"model_ref: {model.name}\nexpected_digest: {WRONG}\n")
    with pytest.raises(DigestMismatchError):
        provision_from_config_to_default_handoff(config)
    assert not (model.parent / ".runtime/engines/llamacpp.json").exists()


def test_a_tolerated_mismatch_is_handed_off(config, model):
    config.write_text(f"model_ref: {model.name}\nexpected_digest: {WRONG}\nstrict_verification: false\n")
    assert provision_from_config_to_default_handoff(config).local_path == model
    assert b'"verification": "fail"' in (model.parent / ".runtime/engines/llamacpp.json").read_bytes()


@pytest.mark.parametrize(("text", "found"), [("models: {}", 0), ("models: {a: {model_ref: a}, b: {model_ref: b}}", 2)])
def test_exactly_one_model(config, text, found):
    config.write_text(text + "\ndefaults: {handoff: '{name}.json'}\n")
    with pytest.raises(ConfigError) as caught:
        provision_from_config_to_default_handoff(config)
    assert str(caught.value) == (
        f"{config}: 1 fault\n\n"
        "the file must name exactly one model\n"
        f"  where     {config}\n"
        "  expected  one entry\n"
        f"  found     {found} entries\n"
        "  fix       run `model-provisioner provision` for a file of several models"
    )


def test_what_the_api_handed_off_is_current_for_doit(project, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(project.state))
    project.add_tiny()
    path = project.models("models: {tiny: {model_ref: models/tiny.gguf}}")
    settle()
    provision_from_config_to_default_handoff(path)
    assert project.why("tiny") == []
    before = project.handoff()
    project.provision()
    assert project.handoff() == before
    assert len(project.provenance()) == 1


def test_one_configuration_takes_back_nothing_of_another(project, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(project.state))
    monkeypatch.chdir(project.root)
    project.add_tiny()
    project.models("models: {tiny: {model_ref: models/tiny.gguf}}")
    project.provision()
    project.write("one.yaml", "model_ref: models/tiny.gguf\nengine: vllm\n")
    provision_from_config_to_default_handoff("one.yaml")
    assert project.handoff("llamacpp")
    assert project.handoff("vllm")
    project.provision()
    assert project.handoff("vllm")
    assert set(project.rows()) == {"tiny", "vllm"}


def test_an_edited_handoff_goes_before_anything_else(config, model, state):
    provision_from_config_to_default_handoff(config)
    handoff = model.parent / ".runtime/engines/llamacpp.json"
    handoff.write_text('{"model": {"id": "local:/evil", "path": "/evil"}}')
    (state / "catalog.db").write_bytes(b"garbage" * 1000)
    for each in ("-wal", "-shm"):
        (state / f"catalog.db{each}").unlink(missing_ok=True)
    with pytest.raises(StorageError, match="the catalog is damaged"):
        provision_from_config_to_default_handoff(config)
    assert not handoff.exists()


def test_a_changed_policy_leaves_no_artifact_of_the_old_one(config, model):
    provision_from_config_to_default_handoff(config)
    config.write_text(config.read_text() + "engine: vllm\n")
    provision_from_config_to_default_handoff(config)
    assert sorted(os.listdir(model.parent / ".runtime/engines")) == ["vllm.json"]
    assert sorted(os.listdir(model.parent / ".runtime/digests")) == ["vllm.sha256"]


def test_the_handoff_that_a_program_names_is_kept_as_one_that_the_file_names(config, model):
    there = model.parent / "out/deep/handoff.json"
    found = provision_from_config_to_handoff(config, there)
    assert (found.local_path, found.outcome) == (model, "pass")
    assert json.loads(there.read_bytes())["model"]["path"] == str(model)
    config.write_text(f"model_ref: {model.name}\nexpected_digest: {WRONG}\n")
    with pytest.raises(DigestMismatchError):
        provision_from_config_to_handoff(config, there)
    assert not there.exists()


def test_a_handoff_goes_where_the_last_call_says(config, model, tmp_path_factory):
    outside = tmp_path_factory.mktemp("run")
    (outside / "link").symlink_to(outside)
    default = model.parent / ".runtime/engines/llamacpp.json"
    provision_from_config_to_default_handoff(config)
    bytes_of_it = default.read_bytes()
    provision_from_config_to_handoff(str(config), str(outside / "link" / "one.json"), cache_dir=model.parent / "cache")
    assert (outside / "one.json").read_bytes() == bytes_of_it
    assert not default.exists()
    provision_from_config_to_handoff(config, os.path.relpath(outside / "two.json"))
    assert sorted(os.listdir(outside)) == ["link", "two.json"]
    provision_from_config_to_default_handoff(config)
    assert sorted(os.listdir(outside)) == ["link"]
    assert default.read_bytes() == bytes_of_it


def test_a_handoff_that_is_confirmed_is_not_written_again(config, model):
    settle()
    there = model.parent / "handoff.json"
    provision_from_config_to_handoff(config, there)
    before = os.stat(there)
    provision_from_config_to_handoff(config, there)
    assert os.stat(there) == before


@pytest.mark.parametrize("place", ["config/model.yaml", "tiny model.gguf", "notes.txt", "config", "."])
def test_what_is_no_handoff_is_not_replaced_by_one(config, model, place):
    (model.parent / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (config, model, model.parent / "notes.txt")}
    with pytest.raises(OccupiedError):
        provision_from_config_to_handoff(config, model.parent / place)
    assert {path: path.read_bytes() for path in before} == before


def test_a_handoff_of_another_project_is_told_with_what_to_do(config, model, tmp_path_factory, monkeypatch):
    there = tmp_path_factory.mktemp("run") / "handoff.json"
    provision_from_config_to_handoff(config, there)
    monkeypatch.chdir(tmp_path_factory.mktemp("another"))
    other = Path("model.yaml")
    other.write_text(f"model_ref: {model}\n")
    with pytest.raises(OccupiedError) as caught:
        provision_from_config_to_handoff(other, there)
    assert str(caught.value) == (
        "the file in the place of the handoff is not this project's\n"
        f"  where     {there}\n"
        "  expected  no file, or one that this project wrote\n"
        f"  found     a file that {config} wrote\n"
        "  fix       move it away, or name another handoff"
    )
    there.unlink()
    assert provision_from_config_to_handoff(other, there).local_path == model


def test_a_program_may_move_to_another_working_directory(config, model, tmp_path_factory, monkeypatch):
    there = tmp_path_factory.mktemp("run") / "handoff.json"
    config.write_text(f"model_ref: {model}\n")
    provision_from_config_to_handoff(config, there)
    monkeypatch.chdir(tmp_path_factory.mktemp("another"))
    assert provision_from_config_to_handoff(config, there).local_path == model
    assert there.exists()


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_handoff_that_no_file_can_be_is_told(config, name):
    with pytest.raises(InputError) as caught:
        provision_from_config_to_handoff(config, name)
    assert str(caught.value) == (
        "no handoff can have this name\n"
        "  where     handoff\n"
        "  expected  the path of a file\n"
        f"  found     {name!r}\n"
        '  fix       name a file, as in   "handoff.json"'
    )


def test_where_the_state_folder_is_refused_the_handoff_that_was_named_goes(config, model, state):
    there = model.parent / "handoff.json"
    provision_from_config_to_handoff(config, there)
    state.chmod(0o777)
    with pytest.raises(StorageError, match="llamacpp: they were withdrawn"):
        provision_from_config_to_handoff(config, there)
    assert not there.exists()


# ---- many models


@pytest.fixture
def several(project, monkeypatch):
    """A project of a model as expected, one that nothing is expected of, one with other bytes, and one that is not there."""
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(project.state))
    project.add_tiny()
    return project.models(
        "defaults: {handoff: 'engines/{name}.json', model_ref: models/tiny.gguf}\n"
        "models:\n"
        f"  good: {{expected_digest: 'sha256:{TINY_SHA}'}}\n"
        "  new: {}\n"
        f"  bad: {{expected_digest: '{WRONG}'}}\n"
        "  lost: {model_ref: models/lost.gguf}\n"
    )


def test_every_model_is_told_and_no_failure_keeps_another_from_being_done(several, project):
    result = provision(several)
    good, new, bad, lost = result
    path = project.root / "models/tiny.gguf"
    assert good == ModelResult(
        name="good",
        id=f"local:{path}",
        state="Active",
        outcome="pass",
        digest=Digest("sha256", TINY_SHA),
        size=path.stat().st_size,
        path=path,
        handoff=project.root / "engines/good.json",
        how="hashed",
        error=None,
    )
    assert (new.ok, new.outcome, new.state) == (True, "warn", "Active")
    assert (bad.ok, bad.outcome, bad.state, str(bad.digest)) == (False, "fail", "Failed", f"sha256:{TINY_SHA}")
    assert (bad.path, bad.handoff, bad.size, bad.how) == (None, None, None, None)
    assert isinstance(bad.error, DigestMismatchError)
    assert (lost.ok, lost.outcome, lost.state, lost.digest) == (False, "error", "Failed", None)
    assert sorted(os.listdir(project.root / "engines")) == ["good.json", "new.json"]
    assert not result.ok
    assert (len(result), result["lost"], result.trouble, result.removed) == (4, lost, (), ())
    with pytest.raises(KeyError):
        result["nobody"]
    with pytest.raises(FailedModelsError) as caught:
        result.raise_for_failures()
    assert caught.value.failures == {"bad": bad.error, "lost": lost.error}
    assert str(caught.value) == f"2 of 4 models failed\n\nbad: {bad.error}\n\nlost: {lost.error}"


def test_what_is_current_is_told_as_current(several, project):
    settle()
    provision(several)
    settle()
    result = provision(several, ["new", "good", "new"])
    assert [(each.name, each.how, each.outcome, each.state) for each in result] == [
        ("new", "stat", "warn", "Active"),
        ("good", "stat", "pass", "Active"),
    ]
    assert result["good"].digest == Digest("sha256", TINY_SHA)
    assert result["good"].path == project.root / "models/tiny.gguf"
    result.raise_for_failures()


def test_what_python_provisioned_is_current_for_doit_and_the_other_way_round(several, project):
    settle()
    provision(several, ["good"])
    assert project.why("good") == []
    project.provision("new")
    assert provision(several, ["new"])["new"].how == "stat"


def test_of_a_damaged_model_no_digest_is_told(several, project):
    provision(several, ["good"]).raise_for_failures()
    (project.root / "models/tiny.gguf").write_bytes(b"GGUF")
    (good,) = provision(several, ["good"])
    assert (good.outcome, good.state, good.digest, good.path) == ("error", "Failed", None, None)
    assert isinstance(good.error, UnsoundModelError)


def test_an_empty_list_of_names_is_no_model(several, project):
    assert len(provision(several, [])) == 0
    assert not (project.root / "engines").exists()


def test_what_no_entry_claims_any_more_is_removed_and_named(several, project):
    provision(several)
    several.write_text(several.read_text().replace("  new: {}\n", ""))
    assert provision(several, ["good"]).removed == ()
    assert set(provision(several).removed) == {
        project.root / "engines/new.json",
        project.root / ".runtime/digests/new.sha256",
    }


def test_a_retired_model_is_no_failure_unless_it_is_named(several, project):
    provision(several)
    project.doit("model-retire", "new")
    retired = provision(several)["new"]
    assert (retired.ok, retired.state, retired.path, retired.handoff) == (True, "Retired", None, None)
    assert isinstance(provision(several, ["new"])["new"].error, RetiredModelError)


def test_the_options_are_those_of_the_command(several, project):
    settle()
    assert isinstance(provision(several, ["new"], require_digest=True)["new"].error, DigestRequiredError)
    assert isinstance(provision(several, ["new"], locked=True)["new"].error, NotLockedError)
    provision(several, ["good"]).raise_for_failures()
    settle()
    assert provision(several, ["good"])["good"].how == "stat"
    assert provision(several, ["good"], full=True)["good"].how == "hashed"


def test_the_users_own_word_for_locked_counts(several, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_LOCKED", "1")
    assert isinstance(provision(several, ["new"])["new"].error, NotLockedError)


def test_models_are_fetched_under_the_policy_of_the_file(store, hub, tmp_path):
    config = tmp_path / "project" / "models.yaml"
    config.parent.mkdir()
    config.write_text(f"network: {{allow: [127.0.0.1]}}\nmodels: {{one: {{model_ref: '{ONE}'}}}}\n")
    assert isinstance(provision(config, offline=True)["one"].error, NotAllowedError)
    assert hub.asked() == []
    told = []
    (one,) = provision(config, cache_dir=tmp_path / "other", progress=told.append)
    assert one.path.is_relative_to(tmp_path / "other")
    assert told[0] == WorkBegins(1, 0)
    assert FetchBegins("one", len(TINY_BYTES), "127.0.0.1") in told
    assert told[-1] == ModelEnded("one")


def test_a_name_that_no_entry_has_is_told_before_anything_is_done(several, project):
    with pytest.raises(UnknownModelError) as caught:
        provision(several, ["good", "goood"])
    assert str(caught.value) == (
        "there is no model 'goood'\n"
        f"  where     {several}\n"
        "  expected  one of bad, good, lost, new\n"
        "  found     no entry of this name\n"
        "  fix       did you mean good?"
    )
    assert not (project.root / "engines").exists()


def test_the_faults_of_the_file_are_raised(several):
    several.write_text("models: {a: {model_ref: 5, engne: x}}")
    with pytest.raises(ConfigError) as caught:
        provision(several)
    assert len(caught.value.faults) == 2
    assert {type(fault) for fault in caught.value.faults} <= {InputError, InvalidReferenceError}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: provision(5), "config must be a string or a path, not int"),
        (lambda: provision(b"x"), "config must be a string or a path, not bytes"),
        (lambda: provision("x", "good"), "names must be a list of names, not one string: put it into a list"),
        (lambda: provision("x", [5]), "each of names must be a string, not int"),
        (lambda: provision("x", offline=1), "offline must be True or False, not int"),
        (lambda: provision("x", cache_dir=5), "cache_dir must be a string or a path, not int"),
        (lambda: provision("x", progress=5), "progress must be a function of one event, not int"),
        (lambda: provision_from_config_to_handoff("x", 5), "handoff must be a string or a path, not int"),
        (lambda: provision_from_config_to_default_handoff(5), "config must be a string or a path, not int"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_type_error_at_once(call, said):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == said


def test_threads_and_event_loops_may_provision_one_project_at_once(several, project, opened):
    settle()

    async def together():
        return await asyncio.gather(*(asyncio.to_thread(provision, several, ["good", "new"]) for _ in range(4)))

    for result in asyncio.run(together()):
        result.raise_for_failures()
        assert {each.digest for each in result} == {Digest("sha256", TINY_SHA)}
    assert opened.count("tiny.gguf") == 1
    assert sorted(os.listdir(project.root / "engines")) == ["good.json", "new.json"]


def test_what_progress_raises_ends_the_call_and_the_next_one_does_the_work(several, project):
    class Cancelled(Exception):
        pass

    def progress(event):
        raise Cancelled

    with pytest.raises(Cancelled):
        provision(several, ["good"], progress=progress)
    assert not (project.root / "engines/good.json").exists()
    provision(several, ["good"]).raise_for_failures()
