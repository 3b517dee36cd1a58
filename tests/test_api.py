"""The Python API: the contract of an engine provisioner."""

import hashlib
import os
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import model_provisioner
from model_provisioner import (
    Catalog,
    ChangingModelError,
    ConfigError,
    Digest,
    DigestMismatchError,
    InvalidReferenceError,
    ModelNotFoundError,
    ModelProvisioner,
    ModelRef,
    ResolvedModel,
    SetDigest,
    StorageError,
    UnsoundModelError,
    provision_from_config_to_default_handoff,
)
from model_provisioner.hashing import memo
from tests.support.project import TINY, settle

TINY_SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
WRONG = Digest("sha256", "0" * 64)


@pytest.fixture
def state(tmp_path, monkeypatch):
    path = tmp_path / "state"
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(path))
    return path


@pytest.fixture
def model(tmp_path, state):
    path = tmp_path / "tiny model.gguf"
    shutil.copy(TINY, path)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened to be hashed."""
    names = []

    def counting(path, real=memo.open_model):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(memo, "open_model", counting)
    return names


def rows(state: Path) -> dict[str, tuple[str, str | None]]:
    return {row.name: (row.lifecycle, row.outcome) for row in Catalog.reader(str(state)).all()}


@pytest.mark.parametrize("as_reference", [str, ModelRef.parse], ids=["text", "reference"])
def test_a_model_that_is_there_is_verified_registered_and_resolved(model, state, as_reference):
    resolved = ModelProvisioner().ensure_present(as_reference(f"file:{model}"))
    assert resolved == ResolvedModel(f"local:{model}", model)
    (row,) = Catalog.reader(str(state)).all()
    assert (row.project, row.name, row.id) == ("", f"local:{model}", f"local:{model}")
    assert (row.lifecycle, row.outcome, row.digest) == ("Active", "warn", f"sha256:{TINY_SHA}")
    assert row.metadata.architecture == "llama"
    assert not (model.parent / ".runtime").exists()


def test_a_relative_path_is_taken_from_the_working_directory(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert ModelProvisioner().ensure_present(model.name).local_path == model


def test_the_expected_digest_is_held(model, state):
    provisioner = ModelProvisioner()
    assert provisioner.ensure_present_with_digest(str(model), Digest("sha256", TINY_SHA)).local_path == model
    assert rows(state) == {f"local:{model}": ("Active", "pass")}
    with pytest.raises(DigestMismatchError) as caught:
        provisioner.ensure_present_with_digest(str(model), WRONG)
    assert str(caught.value) == (
        "the digest differs from what is expected\n"
        f"  where     {model}\n"
        f"  expected  sha256:{'0' * 64}\n"
        f"  found     sha256:{TINY_SHA}\n"
        "  fix       get the file again from its source; if these bytes are right, ask with that digest"
    )
    assert (caught.value.wanted, caught.value.actual, caught.value.path) == (
        str(WRONG),
        f"sha256:{TINY_SHA}",
        str(model),
    )
    assert rows(state) == {f"local:{model}": ("Failed", "fail")}


def test_a_set_may_be_expected_file_by_file(tmp_path, state):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a").write_bytes(b"a")
    expected = SetDigest((("a", Digest("sha256", hashlib.sha256(b"a").hexdigest())),))
    provisioner = ModelProvisioner()
    assert provisioner.ensure_present_with_digest(str(tmp_path / "set"), expected).local_path == tmp_path / "set"
    (tmp_path / "set/b").write_bytes(b"b")
    with pytest.raises(DigestMismatchError, match=r"b was not expected"):
        provisioner.ensure_present_with_digest(str(tmp_path / "set"), expected)


def test_what_failed_is_failed_in_the_catalog_and_what_was_never_there_is_not(model, state):
    provisioner = ModelProvisioner()
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present(f"{model}.no")
    assert rows(state) == {}
    provisioner.ensure_present(str(model))
    model.write_bytes(b"GGUF")
    with pytest.raises(UnsoundModelError):
        provisioner.ensure_present(str(model))
    assert rows(state) == {f"local:{model}": ("Failed", "error")}
    model.unlink()
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present(str(model))
    assert rows(state) == {f"local:{model}": ("Failed", "error")}


def test_a_model_is_pending_while_it_is_read(model, state, monkeypatch):
    seen = []

    def looking(path, real=memo.open_model):
        seen.append(rows(state))
        return real(path)

    monkeypatch.setattr(memo, "open_model", looking)
    ModelProvisioner().ensure_present(str(model))
    assert seen == [{f"local:{model}": ("Pending", None)}]


def test_nothing_is_hashed_twice(model, opened):
    settle()
    provisioner = ModelProvisioner()
    provisioner.ensure_present(str(model))
    provisioner.ensure_present(str(model))
    ModelProvisioner().ensure_present_with_digest(str(model), Digest("sha256", TINY_SHA))
    assert opened == [model.name]


@pytest.mark.parametrize("shared", [True, False], ids=["one provisioner", "one each"])
def test_threads_that_ask_for_one_model_hash_it_once(model, opened, shared):
    settle()
    one = ModelProvisioner()
    start = threading.Barrier(8)

    def ask(_):
        provisioner = one if shared else ModelProvisioner()
        start.wait()
        return provisioner.ensure_present(str(model))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {ResolvedModel(f"local:{model}", model)}
    assert opened == [model.name]


def test_threads_with_models_of_their_own(tmp_path, state):
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(b"%d" % number)
    provisioner = ModelProvisioner()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: provisioner.ensure_present(str(tmp_path / f"{number}.bin")), range(20)))
    assert set(rows(state).values()) == {("Active", "warn")}
    assert len(rows(state)) == 20


def test_looking_writes_nothing(model, state):
    provisioner = ModelProvisioner()
    for asked in (str(model), f"file:{model}", f"local:{model}", ModelRef.parse(str(model))):
        assert provisioner.exists(asked)
        assert provisioner.locate(asked) == model
    assert not provisioner.exists(f"{model}.no")
    assert provisioner.locate("hf:org/repo/x.gguf") is None
    assert not state.exists()


def test_a_registered_model_is_found_by_its_id(model, state):
    provisioner = ModelProvisioner()
    resolved = provisioner.register_model("hf:org/repo/x.gguf", model, Digest("sha256", TINY_SHA))
    assert resolved == ResolvedModel("hf:org/repo/x.gguf", model)
    assert provisioner.locate("hf:org/repo/x.gguf") == model
    assert provisioner.ensure_present("hf:org/repo/x.gguf") == resolved
    with pytest.raises(DigestMismatchError):
        provisioner.register_model("hf:org/repo/x.gguf", model, WRONG)
    assert provisioner.locate("hf:org/repo/x.gguf") is None  # what failed is not offered
    with pytest.raises(InvalidReferenceError):
        provisioner.register_model("hf:nonsense", model, None)


def test_a_remote_model_that_is_not_here_is_told(state):
    with pytest.raises(ModelNotFoundError, match="the model is not on this machine"):
        ModelProvisioner().ensure_present("hf:org/repo/x.gguf")


def test_a_catalog_of_ones_own(model, tmp_path, state):
    own = tmp_path / "own"
    ModelProvisioner(Catalog(str(own))).ensure_present(str(model))
    assert list(rows(own)) == [f"local:{model}"]
    assert not state.exists()


def test_a_file_that_never_rests_is_told(model, monkeypatch):
    def touching(path, real=memo.open_model):
        fd = real(path)
        with open(path, "ab") as file:
            file.write(b"x")
        return fd

    monkeypatch.setattr(memo, "open_model", touching)
    with pytest.raises(ChangingModelError, match="the model keeps changing while it is read"):
        ModelProvisioner().ensure_present(str(model))


# ---- from a configuration


@pytest.fixture
def config(model, monkeypatch):
    path = model.parent / "config" / "model.yaml"
    path.parent.mkdir()
    path.write_text(f"model_ref: {model.name}\nexpected_digest: sha256:{TINY_SHA}\n")
    monkeypatch.chdir(model.parent)
    return path


def test_the_document_of_one_model_is_handed_off_from_the_working_directory(config, model):
    settle()
    assert provision_from_config_to_default_handoff(config) == ResolvedModel(f"local:{model}", model)
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
        "  fix       run `doit provision` for a file of several models"
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


# ---- the package


def test_importing_the_package_imports_next_to_nothing(run_python):
    found = run_python(
        "import sys; before = set(sys.modules); import model_provisioner; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert [name for name in found if name.startswith("model_provisioner")] == ["model_provisioner"]
    assert not {"doit", "pydantic", "yaml", "sqlite3", "xxhash", "hashlib", "json", "tqdm"} & set(found)


def test_public_names():
    for name in model_provisioner.__all__:
        assert getattr(model_provisioner, name).__name__ == name
    assert set(model_provisioner.__all__) <= set(dir(model_provisioner))
    with pytest.raises(AttributeError, match="module 'model_provisioner' has no attribute 'Nonsense'"):
        _ = model_provisioner.Nonsense


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


def test_no_credential_reaches_the_catalog(model, state):
    provisioner = ModelProvisioner()
    secret = "https://user:SECRET@host/x.gguf?token=SECRET2"
    resolved = provisioner.register_model(secret, model, None)
    assert "SECRET" not in resolved.id
    assert provisioner.exists(secret)
    assert provisioner.locate(resolved.id) == model
    assert b"SECRET" not in b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())


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


def test_a_model_registered_under_a_local_id_is_found(model, tmp_path):
    provisioner = ModelProvisioner()
    resolved = provisioner.register_model(f"local:{tmp_path}/other-name", model, None)
    assert provisioner.exists(resolved.id)
    assert provisioner.locate(resolved.id) == model


def test_a_revision_is_that_revision(model):
    provisioner = ModelProvisioner()
    provisioner.register_model("hf:org/repo@v1/x.gguf", model, None)
    assert provisioner.locate("hf:org/repo@v1/x.gguf") == model
    assert provisioner.locate("hf:org/repo/x.gguf") == model
    assert provisioner.locate("hf:org/repo@v2/x.gguf") is None
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present("hf:org/repo@v2/x.gguf")


def test_errors_cross_processes():
    error = DigestMismatchError("/x", "sha256:0", "sha256:1", detail="a differs")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path, again.exit_code) == (DigestMismatchError, str(error), "/x", 1)
