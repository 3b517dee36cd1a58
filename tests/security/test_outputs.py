"""What a user names after `-o` or `--junit` is written only where nothing of the project's, or of others, is lost by that."""

import os
import socket

import pytest

from tests.support.keys import make_keys
from tests.support.project import TINY

COMMANDS = {
    "model-attest": ["model-attest", "tiny", "-o"],
    "model-report": ["model-report", "-o"],
    "model-report as JSON": ["model-report", "--json", "-o"],
    "presets of model-report": ["model-report", "--presets"],
    "model-check": ["model-check", "--junit"],
    "provision": ["provision", "tiny", "-o"],
}
NEVER = {
    "models/tiny.gguf": "a model, which was left as it is",
    "models/new.gguf": "the place of a model",
    "weights.bin": "a model, which was left as it is",
    "folder/config.json": "a model, which was left as it is",
    "folder/new.json": "the place of a model",
    "not-here.bin": "the place of a model",
    "models.yaml": "a configuration, which was left as it is",
    "elsewhere/models.yaml": "the place of a configuration",
    "models.lock": "the place of a lock file",
    "dodo.py": "the place of a file of doit",
    "doit.cfg": "the place of a file of doit",
    "pyproject.toml": "the place of a file of doit",
    ".runtime/engines/llamacpp.json": "a handoff, which was left as it is",
    ".runtime/engines/planned.json": "the place of a handoff",
    "other-handoff": "a handoff, which was left as it is",
    ".runtime/digests/tiny.sha256": "a checksum file, which was left as it is",
    ".runtime/digests/any": "the place of a checksum file",
    ".runtime/provenance/models.jsonl": "a log of verifications, which was left as it is",
    ".cache/any": "the place of a file of the store",
    "copy.sha256": "a checksum file, which was left as it is",
    "ed25519.pem": "a key or certificate, which was left as it is",
    "link-to-model": "a model, which was left as it is",
    "hard-link": "a model, which was left as it is",
    "renamed-weights": "a model, which was left as it is",
    "database": "a database, which was left as it is",
    "folder": "a folder",
    "new/": "a folder",
    "fifo": "something that is no file, and was left as it is",
    "socket": "something that is no file, and was left as it is",
    "device": "something that is no file, and was left as it is",
    "link-to-device": "something that is no file, and was left as it is",
    "circle": "Too many levels of symbolic links",
}
FOREIGN = {
    "notes.txt": "my notes\n",
    "pom.xml": '<?xml version="1.0"?>\n<project/>\n',
    "junit.xml": '<?xml version="1.0"?>\n<testsuites><testsuite name="pytest" tests="1"/></testsuites>\n',
    "page.html": "<!doctype html>\n<html><head><title>mine</title></head></html>\n",
    "foreign.json": '{"_type": "https://in-toto.io/Statement/v1", "predicate": {"verifier": {"id": "another"}}}\n',
}
OLDER = {
    "model-attest": [
        '{"_type": "https://in-toto.io/Statement/v1", "predicate": {"verifier": {"id": "pkg:pypi/model-provisioner"}}}'
    ],
    "model-report": [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta name="generator" content="model-provisioner 0.1.0">\n',
        '{\n  "config": "/x/models.yaml",\n  "counts": {\n    "current": 1,\n',
    ],
    "model-check": [
        "<?xml version='1.0' encoding='utf-8'?>\n<testsuites>\n  <testsuite name=\"model-check\" tests=\"1\">\n"
    ],
    "presets": ["; made by model-provisioner, in some version\nversion = 1\n"],
    "provision": ["1 model: 1 current (0.01 s)\n", "FAIL  tiny  it was killed then", ".  convert\n", '{"tasks": []}'],
}


@pytest.fixture
def full(project):
    """A project with all that an output could hit."""
    project.add_tiny()
    project.write("weights.bin", b"weights of no known format")
    project.write("folder/model.bin", b"more of them")
    project.write("folder/config.json", b"{}")
    handoff = '"{runtime_dir}/engines/{name}.json"'
    project.models(
        "cache_dir: .cache\n"
        "models:\n"
        "  tiny: {model_ref: models/tiny.gguf, engine: llamacpp}\n"
        f"  weights: {{model_ref: weights.bin, handoff: {handoff}}}\n"
        f"  folder: {{model_ref: folder, handoff: {handoff}}}\n"
        f"  planned: {{model_ref: not-here.bin, handoff: {handoff}}}\n"
    )
    project.provision(code=1)
    make_keys(project.root, "ed25519").private.rename(project.root / "ed25519.pem")
    project.write("copy.sha256", "0" * 64 + "  tiny.gguf\n")
    project.write("database", b"SQLite format 3\0" + bytes(100))
    project.write("renamed-weights", TINY.read_bytes()[:200])
    project.write("other-handoff", '{"model": {"id": "local:/x", "path": "/x"}}')
    for name, target in {"link-to-model": "weights.bin", "link-to-device": "/dev/null", "circle": "circle"}.items():
        (project.root / name).symlink_to(target)
    os.link(project.root / "weights.bin", project.root / "hard-link")
    os.mkfifo(project.root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(project.root)  # the path of a socket is short
        listening.bind("socket")
        os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(project.root / "device", 0o600 | 0o020000, os.makedev(1, 3))
    else:
        (project.root / "device").symlink_to("/dev/zero")
    for name, text in FOREIGN.items():
        project.write(name, text)
    return project


def tree(project):
    """Return all that is in the project, less what every run writes."""
    found = {}
    for path in project.root.rglob("*"):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(project.root))] = (status.st_mode, status.st_ino, data)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_project_is_made_of_is_never_replaced(full, command):
    option = COMMANDS[command][-1]
    before = tree(full)
    for name, found in NEVER.items():
        for force in ([], ["--force"]):
            answer = full.doit(*COMMANDS[command], name, *force, code=3)
            said = answer.err.splitlines()
            program = "doit provision" if command == "provision" else COMMANDS[command][0]
            assert said[0] == f"ERROR: {program} can't write what {option} names", (name, answer)
            assert said[2] == f"  expected  no file, an empty one, or one that {program} wrote"
            assert said[3] == f"  found     {found}", (name, answer)
    assert tree(full) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_another_program_is_replaced_with_force_only(full, command):
    before = tree(full)
    for name in FOREIGN:
        answer = full.doit(*COMMANDS[command], name, code=3)
        assert answer.err.splitlines()[3:] == [
            "  found     something else, which was left as it is",
            f"  fix       name another file after {COMMANDS[command][-1]}, or add --force to replace this one",
        ]
    assert tree(full) == before
    for name, text in FOREIGN.items():
        full.doit(*COMMANDS[command], name, "--force", code=None)
        assert (full.root / name).read_text() != text


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_there_is_empty_or_was_written_by_the_command_is_replaced(full, command):
    full.write("out", "")
    for _ in range(2):
        full.doit(*COMMANDS[command], "out", code=None)
        assert (full.root / "out").stat().st_size > 20
    for older in OLDER[command.partition(" ")[0]]:
        full.write("out", older)
        full.doit(*COMMANDS[command], "out", code=None)
        assert (full.root / "out").read_text() != older
    for other, written in OLDER.items():
        if not command.startswith(other):
            full.write("out", written[0])
            full.doit(*COMMANDS[command], "out", code=3)
            assert (full.root / "out").read_text() == written[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_through_a_link_its_target_is_judged_and_the_link_stays(full, command):
    (full.root / "link").symlink_to("target")
    full.doit(*COMMANDS[command], "link", code=None)
    assert (full.root / "link").is_symlink()
    assert (full.root / "target").stat().st_size > 20
    full.write("target", "my notes\n")
    assert "something else" in full.doit(*COMMANDS[command], "link", code=3).err
    assert (full.root / "target").read_text() == "my notes\n"


@pytest.mark.parametrize("command", ["model-attest", "model-report", "provision"])
def test_a_hyphen_is_standard_output(full, command):
    out = full.doit(*COMMANDS[command], "-").out
    assert len(out) > 20
    assert not (full.root / "-").exists()


def test_where_the_configuration_has_faults_nothing_is_taken_for_no_model(full):
    full.models("models: [")
    before = tree(full)
    assert (
        "the configuration can't be read" in full.doit("model-check", "--junit", "weights.bin", "--force", code=3).err
    )
    assert tree(full) == before
    full.doit("model-check", "--junit", "new.xml", code=3)
    assert b"<error " in (full.root / "new.xml").read_bytes()


def test_a_strangers_link_does_not_lead_an_output_out_of_the_project(victim):
    victim.doit("provision", "--offline")
    for name in (".bashrc", ".profile", "papers/new.html"):
        victim.link(f"to-{os.path.basename(name)}", victim.home / name)
    victim.link("reports", victim.home / "papers")
    with victim.untouched():
        for name in ("to-.bashrc", "to-.profile", "to-new.html", "reports/index.html", "reports/thesis.tex"):
            for command in (["model-report", "-o"], ["provision", "--offline", "-o"]):
                ran = victim.doit(*command, name)
                assert (ran.code, "--force" in ran.err) == (3, True), ran
