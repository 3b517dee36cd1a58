"""`path`: what an engine is to load, and nothing else, or the reason why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import document, settle, settle_in_every_process
from tests.support.remote import TINY_BYTES

MODELS = 'defaults: {handoff: "{runtime_dir}/engines/{name}.json"}\nmodels: {tiny: {model_ref: tiny.gguf}, b: {model_ref: b.gguf}}\n'


@pytest.fixture
def two(project):
    """Two models that are handed off, as long ago as makes their times count."""
    project.add_tiny("tiny.gguf")
    project.add_tiny("b.gguf")
    project.models(MODELS)
    settle()
    project.program("provision")
    return project


def refused(project, name="tiny"):
    """Return what is said of a model whose path is not told, by both faces."""
    answer = project.program("path", name, code=1)
    assert answer.out == ""
    assert project.doit("model-path", name, code=1).err == answer.err.replace("model-provisioner ", "doit ").replace(
        "doit retire", "doit model-retire"
    )
    return answer.err


def not_current(project, why, name="tiny"):
    return (
        f"ERROR: {name} is not handed off as it is now\n"
        f"  where     {project.root}/.runtime/engines/{name}.json\n"
        "  expected  a handoff that the last run wrote of what is here\n"
        f"  found     {why}\n"
        "  fix       run model-provisioner provision, which says what is wrong, or hands it off\n"
    )


def test_the_path_is_printed_and_nothing_else(two):
    path = two.handoff("tiny")["model"]["path"]
    for face in (two.program("path", "tiny"), two.doit("model-path", "tiny")):
        assert (face.out, face.err) == (f"{path}\n", "")
    assert document(two.program("path", "tiny", "--json"))["result"] == {"path": path}


def test_another_model_of_the_project_does_not_matter(two):
    two.write("b.gguf", TINY_BYTES + bytes(32))
    two.program("path", "tiny")
    two.program("path", "b", code=1)
    two.program("provision")
    two.program("path", "b")


def test_without_a_snapshot_the_records_are_asked(two):
    (snapshot,) = two.state.glob("projects/*/snapshot")
    snapshot.unlink()
    assert two.program("path", "tiny").out == f"{two.root}/tiny.gguf\n"
    assert not snapshot.exists()


def test_a_model_that_moved_is_not_told(two):
    os.utime(two.root / "tiny.gguf", (1, 1))
    assert refused(two) == not_current(two, "mtime changed")
    two.program("provision")  # the fix, tried
    settle()
    assert two.program("path", "tiny").out == f"{two.root}/tiny.gguf\n"


def test_a_model_that_is_gone_is_not_told(two):
    (two.root / "tiny.gguf").unlink()
    assert refused(two) == not_current(two, "there is no such file or folder")


def test_a_model_that_failed_is_not_told(two):
    two.write("tiny.gguf", b"GGUF but broken")
    two.program("provision", code=1)
    assert "found     " in refused(two)
    assert refused(two).startswith(not_current(two, "the last verification failed").partition("  found")[0])
    two.program("path", "b")


def test_a_model_that_was_never_provisioned_is_not_told(project):
    project.add_tiny("tiny.gguf")
    project.models("models: {tiny: {model_ref: tiny.gguf, handoff: .runtime/engines/tiny.json}}\n")
    assert refused(project) == not_current(project, "not verified before; catalog row missing; handoff missing")


def test_a_retired_model_is_not_told(two):
    two.program("retire", "tiny")
    told = (
        "ERROR: tiny is retired: it has no handoff, and what needs one can't run\n"
        f"  where     {two.root}/.runtime/engines/tiny.json\n"
        "  expected  a model in service\n  found     one that was retired by hand\n"
        "  fix       model-provisioner retire --undo tiny, then model-provisioner provision; or leave out what needs it\n"
    )
    assert refused(two) == told
    two.program("provision")  # the snapshot has it as retired
    assert refused(two) == told
    two.program("retire", "--undo", "tiny")  # the fix, tried
    two.program("provision")
    two.program("path", "tiny")


@pytest.mark.parametrize("what", ["removed", "edited", "its checksum file removed"])
def test_an_artifact_that_is_not_as_it_was_written_is_told(two, what):
    path = two.root / ".runtime" / ("digests/tiny.sha256" if "checksum" in what else "engines/tiny.json")
    path.write_text("{}") if what == "edited" else path.unlink()
    why = {
        "removed": "handoff missing",
        "edited": "handoff differs from what would be written",
        "its checksum file removed": "checksum file missing",
    }
    assert refused(two) == not_current(two, why[what])


def test_a_model_of_another_digest_than_is_expected_by_now_is_not_told(two):
    two.models(MODELS.replace("tiny.gguf}", f'tiny.gguf, expected_digest: "sha256:{"0" * 64}"}}'))
    assert "the digest differs from what is expected" in refused(two)


def test_a_model_that_is_handed_off_against_its_digest_is_not_told(two):
    two.models(
        MODELS.replace("tiny.gguf}", f'tiny.gguf, strict_verification: false, expected_digest: "sha256:{"0" * 64}"}}')
    )
    two.program("provision")
    assert two.handoff("tiny")["metadata"]["verification"] == "fail"
    assert "the digest differs from what is expected" in refused(two)


def test_a_file_that_was_verified_as_soon_as_it_was_written_is_read_once_more(project):
    """Its times can't vouch for it yet: a script that adds, provisions and starts an engine has its path all the same."""
    project.add_tiny("tiny.gguf")
    project.program("add", "tiny.gguf")
    project.program("provision")
    assert project.program("path", "tiny").out == f"{project.root}/tiny.gguf\n"


def test_a_fetched_model_is_told_by_its_place_in_the_store(tiny):
    tiny.provision()
    path = tiny.project.program("path", "tiny").out.removesuffix("\n")
    assert path == str(tiny.path("tiny"))
    assert Path(path).read_bytes() == TINY_BYTES
    os.unlink(path)
    assert "fix       run model-provisioner provision" in refused(tiny.project)


def test_a_name_that_is_no_model_is_told(two):
    answer = two.program("path", "tniy", code=3)
    assert answer.err.startswith("ERROR: there is no model 'tniy'\n")
    assert answer.err.endswith("  fix       did you mean tiny?\n")
    for names in ([], ["tiny", "b"]):
        answer = two.program("path", *names, code=3)
        assert answer.err.startswith("ERROR: path takes one NAME\n")
        assert answer.out == ""


def test_a_path_is_printed_as_the_bytes_that_it_is(project):
    name = os.fsdecode(b"\xff new\nline.gguf")
    project.add_tiny(name)
    project.program("add", "tiny", name)
    project.program("provision")
    run = subprocess.run(
        [sys.executable, "-m", "model_provisioner", "path", "tiny"],
        cwd=project.root,
        env=project.surroundings(),
        capture_output=True,
    )
    assert (run.stdout, run.stderr) == (os.fsencode(project.root / name) + b"\n", b"")


def test_by_the_snapshot_it_imports_little(two):
    settle_in_every_process()
    command = [sys.executable, "-X", "importtime", "-m", "model_provisioner", "path", "tiny"]
    run = subprocess.run(command, cwd=two.root, env=two.surroundings(), capture_output=True, text=True, check=True)
    assert run.stdout == f"{two.root}/tiny.gguf\n"
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert not imported & {"sqlite3", "yaml", "pydantic", "doit", "dataclasses", "model_provisioner.engine.workspace"}
