"""The parsed configuration in the state folder, through doit's command line: when it is used, and when it must not be."""

import os
import shutil

import pytest

from tests.support.project import settle

PARSERS = {"yaml", "pydantic", "model_provisioner.config.load", "model_provisioner.config.document"}


@pytest.fixture
def current(project):
    """A project of two models, one of them behind a link, after a run."""
    project.add_tiny("here/a.gguf")
    shutil.copytree(project.root / "here", project.root / "there")
    os.symlink("here", project.root / "link")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
        "cache_dir: ~/cache\n"
        "models:\n  a: {model_ref: here/a.gguf}\n  b: {model_ref: link/a.gguf}\n"
    )
    project.environ["HOME"] = str(project.root / "home")
    settle()
    project.provision()
    return project


def kept(project):
    (path,) = project.state.glob("projects/*/config")
    return path


def parsed(project, *args, code=0):
    """Run a command; tell whether it read the configuration file itself."""
    project.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        answer = project.process(*(args or ["provision"]), code=code)
    finally:
        del project.environ["PYTHONPROFILEIMPORTTIME"]
    imported = {line.rpartition("|")[2].strip() for line in answer.err.splitlines()}
    assert "model_provisioner.engine.workspace" in imported
    assert not imported & PARSERS or imported >= PARSERS
    return imported >= PARSERS


def test_a_run_after_one_model_changed_does_not_parse(current):
    os.utime(current.root / "here/a.gguf", (1e9, 1e9))
    assert not parsed(current)
    assert current.handoff("a")["model"]["path"] == str(current.root / "here/a.gguf")
    assert current.handoff("b")["model"]["path"] == str(current.root / "here/a.gguf")


@pytest.mark.parametrize("args", [["provision", "a"], ["provision", "--full"], ["model-why", "a"]])
def test_other_commands_do_not_either(current, args):
    assert not parsed(current, *args)


def test_what_only_looks_keeps_nothing(current):
    kept(current).unlink()
    assert parsed(current, "model-why", "a")
    assert parsed(current, "model-why", "a")
    assert not list(current.state.glob("projects/*/config"))


def test_an_edit_is_parsed(current):
    path = current.root / "models.yaml"
    path.write_text(path.read_text().replace("link/a.gguf", "there/a.gguf"))
    assert parsed(current)
    assert current.handoff("b")["model"]["path"] == str(current.root / "there/a.gguf")
    assert not parsed(current, "model-why", "a")


def test_a_fault_is_told_as_long_as_it_is_there(current):
    whole = (current.root / "models.yaml").read_text()
    current.models(whole + "modles: {}\n")
    for _ in range(2):
        assert "unknown field 'modles'" in current.provision(code=3).err
    current.models(whole)
    assert not parsed(current, "provision", "a")


def test_a_link_that_leads_elsewhere_is_followed(current):
    (current.root / "link").unlink()
    os.symlink("there", current.root / "link")
    assert parsed(current)
    assert current.handoff("b")["model"]["path"] == str(current.root / "there/a.gguf")


def test_another_home_is_another_configuration(current):
    current.environ["HOME"] = str(current.root)
    assert parsed(current)
    assert not parsed(current, "model-why", "a")
    current.environ["MODEL_PROVISIONER_CACHE_DIR"] = "/elsewhere"
    assert parsed(current, "model-why", "a")


def test_a_folder_in_the_place_of_a_handoff_is_refused_as_ever(current):
    path = current.root / ".runtime/engines/a.json"
    path.unlink()
    path.mkdir()
    assert "the handoff can't be written there" in current.provision(code=3).err


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: [path.unlink(), os.mkfifo(path)],
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        flip,
        lambda path: path.write_bytes(path.read_bytes().replace(b"here/a.gguf", b"evil/a.gguf")),
        lambda path: path.chmod(0o666),
        pytest.param(
            lambda path: os.chown(path, 12345, -1),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away"),
        ),
    ],
    ids=["gone", "folder", "FIFO", "empty", "short", "bit", "edited", "open to others", "of somebody else"],
)
def test_one_that_can_t_be_believed_is_not(current, damage):
    damage(kept(current))
    assert parsed(current, "provision", "a")
    assert current.handoff("a")["model"]["path"] == str(current.root / "here/a.gguf")


def test_a_state_folder_that_others_may_write_is_not_believed(current):
    os.chmod(current.state, 0o777)
    assert parsed(current, code=2)
    assert current.handoff("a") is None


def test_no_credential_reaches_it(current):
    kept(current).unlink()
    secret = "https://user:hunter2@host/x?token=hunter2"
    path = current.root / "models.yaml"
    path.write_text(f"{path.read_text()}  c: {{model_ref: '{secret}'}}\n")
    current.provision(code=None)
    assert not list(current.state.glob("projects/*/config"))
