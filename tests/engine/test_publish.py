"""Publishing: the policy is read again and every file looked at again, just before the rename."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from model_provisioner.errors import ChangingModelError, OccupiedError, PolicyChangedError
from model_provisioner.engine import publish as handoff
from model_provisioner.engine import hand_off as handing
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.hand_off import hand_off
from model_provisioner.engine.register import register
from model_provisioner.engine.verify import verify
from model_provisioner.engine.workspace import Workspace, open_workspace
from tests.support.project import TINY, settle

SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
ONE = "models: {tiny: {model_ref: tiny.gguf}}\n"


@pytest.fixture
def work(tmp_path) -> Workspace:
    """A project whose model was verified and registered, and not handed off yet."""
    shutil.copy(TINY, tmp_path / "tiny.gguf")
    (tmp_path / "models.yaml").write_text(ONE)
    work = open_workspace(str(tmp_path / "models.yaml"))
    work.tiny = EntryRun(work.config.entries["tiny"])
    verify(work, [work.tiny])
    register(work, [work.tiny])
    return work


def entry(work):
    return work.config.entries["tiny"]


def handed_off(work) -> bool:
    """Hand the entry off; return whether its bytes changed, or raise what kept it from being written."""
    hand_off(work, [work.tiny])
    if work.tiny.error is not None:
        raise work.tiny.error
    assert work.tiny.published
    return work.tiny.changed


def written(work) -> dict | None:
    path = Path(entry(work).handoff)
    return json.loads(path.read_bytes()) if path.exists() else None


def test_what_was_verified_is_written_once(work):
    assert handed_off(work) is True
    assert written(work)["metadata"]["digest"]["value"] == SHA
    assert handed_off(work) is False


@pytest.mark.parametrize(
    "text",
    [
        f"models: {{tiny: {{model_ref: tiny.gguf, expected_digest: 'sha256:{'0' * 64}'}}}}",
        f"models: {{tiny: {{model_ref: tiny.gguf, expected_digest: 'sha256:{SHA}'}}}}",
        "models: {tiny: {model_ref: tiny.gguf, strict_verification: false}}",
        "models: {tiny: {model_ref: other.gguf}}",
        "models: {tiny: {model_ref: tiny.gguf, engine: vllm, handoff: .runtime/engines/llamacpp.json}}",
        "models: {tiny: {model_ref: tiny.gguf, handoff: other.json}}",
        "models: {other: {model_ref: tiny.gguf}}",
        "models: {}",
        "models: {tiny: {model_ref: tiny.gguf",
        "",
    ],
)
def test_a_policy_that_changed_since_the_start_is_not_acted_on(work, text):
    Path(work.config.path).write_text(text)
    with pytest.raises(PolicyChangedError) as caught:
        handed_off(work)
    assert str(caught.value) == (
        "the policy of tiny changed while the model was verified\n"
        f"  where     {work.config.path}\n"
        "  expected  the entry at rest\n"
        "  found     the entry as it was at the start of the run is no longer there\n"
        "  fix       nothing was handed off; run again"
    )
    assert written(work) is None
    assert work.catalog.get(work.config.root, "tiny").lifecycle == "Pending"


def test_a_configuration_that_is_gone_is_not_acted_on(work):
    os.unlink(work.config.path)
    with pytest.raises(PolicyChangedError):
        handed_off(work)
    assert written(work) is None


@pytest.mark.parametrize(
    "text", [ONE, "# a comment\n" + ONE, "models: {tiny: {model_ref: './tiny.gguf'}, more: {model_ref: x, handoff: y}}"]
)
def test_an_edit_that_changes_no_policy_of_the_entry_is_no_matter(work, text):
    Path(work.config.path).write_text(text)
    assert handed_off(work) is True


def test_a_model_that_moved_since_is_verified_again(work, tmp_path):
    data = bytearray(TINY.read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny.gguf").write_bytes(data)
    assert handed_off(work) is True
    assert written(work)["metadata"]["digest"]["value"] == hashlib.sha256(data).hexdigest()
    assert work.catalog.get(str(tmp_path), "tiny").digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_model_that_moves_each_time_is_an_error_after_three_tries(work, tmp_path, monkeypatch):
    """Another program writes to the model whenever it was verified."""
    tries = []

    def publish(*args, real=handoff.publish):
        tries.append(1)
        with open(tmp_path / "tiny.gguf", "ab") as file:
            file.write(b"x")
        return real(*args)

    monkeypatch.setattr(handing, "publish", publish)
    with pytest.raises(ChangingModelError) as caught:
        handed_off(work)
    assert len(tries) == 3
    assert caught.value.what == "the model keeps changing after it was verified"
    assert written(work) is None
    row = work.catalog.get(str(tmp_path), "tiny")
    assert (row.lifecycle, row.outcome, row.reason) == ("Failed", "error", str(caught.value))
    assert not os.path.exists(work.sha256_target(entry(work)))


@pytest.mark.parametrize("content", [b"my notes", b'{"name": "a package"}', b"", TINY.read_bytes()])
def test_another_file_in_the_handoffs_place_is_left_alone(work, content):
    path = Path(entry(work).handoff)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(OccupiedError) as caught:
        handed_off(work)
    assert str(caught.value) == (
        "the place of the handoff of tiny is taken\n"
        f"  where     {path}\n"
        "  expected  no file, or a handoff\n"
        "  found     something else, which was left as it is\n"
        f"  fix       move it away, or give tiny another handoff in {work.config.path}"
    )
    assert path.read_bytes() == content


def test_the_original_tools_handoff_and_one_edited_by_hand_are_replaced(work):
    path = Path(entry(work).handoff)
    path.parent.mkdir(parents=True)
    path.write_text('{"model": {"id": "local:/x", "path": "/x"}}')
    assert handed_off(work) is True
    path.write_text("edited")
    assert handed_off(work) is True
    assert written(work)["schema_version"] == 1
