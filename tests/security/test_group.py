"""A project and a store that a group shares: the second member can do all that the first can, each with their own state."""

import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.project import TINY
from tests.support.remote import ONE, REPO, TINY_SHA
from tests.support.project import settle_in_every_process
from tests.support.users import TEAM, User, as_root, commons

pytestmark = as_root


@dataclass(frozen=True)
class Shared:
    """A project in a folder of the group's (setgid), with a store beside it, and two members whose umask is 002."""

    root: Path
    store: Path
    members: tuple[User, User]
    environ: dict[str, str]

    def doit(self, member: User, *arguments: str, code: int = 0):
        answer = member.doit(*arguments, cwd=self.root, environ=self.environ)
        assert answer.code == code, answer
        return answer

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for each in (path.parent, path):
            os.chown(each, self.members[0].number, TEAM)
        path.parent.chmod(0o2775)
        path.chmod(0o664)
        os.utime(path, (1e9, 1e9))
        return path

    def handoff(self, name: str) -> dict | None:
        path = self.root / ".runtime" / "engines" / f"{name}.json"
        return json.loads(path.read_bytes()) if path.exists() else None


@pytest.fixture
def shared(hub):
    hub.add("org/tiny", REPO)
    with commons() as folder:
        members = (User.at(folder / "anna", 1001, 0o002), User.at(folder / "ben", 1002, 0o002))
        for name in ("project", "store"):
            (folder / name).mkdir()
            os.chown(folder / name, members[0].number, TEAM)
            (folder / name).chmod(0o2775)
        shared = Shared(
            folder / "project", folder / "store", members, hub.environ(folder / "no cache of the Hub's own")
        )
        shared.write("models/tiny.gguf", TINY.read_bytes())
        shared.write(
            "models.yaml",
            json.dumps(
                {
                    "cache_dir": str(shared.store),
                    "network": {"allow": ["127.0.0.1", "localhost"]},
                    "defaults": {"handoff": "{runtime_dir}/engines/{name}.json"},
                    "models": {"tiny": {"model_ref": "models/tiny.gguf"}, "far": {"model_ref": ONE}},
                }
            ),
        )
        yield shared


def test_each_member_does_what_the_other_did(shared):
    """Every command that writes, by one member after the other, while the other's files lie there."""
    for first, second in (shared.members, shared.members[::-1]):
        for member in (first, second):
            shared.doit(member, "provision", "--full")
            assert {shared.handoff(name) is None for name in ("tiny", "far")} == {False}
            shared.doit(member, "model-lock")
            shared.doit(member, "provision", "--locked")
            shared.doit(member, "model-verify", "--full")
            assert "2 models: 2 the same" in shared.doit(member, "model-check").out
            shared.doit(member, "model-attest", "tiny", "-o", "statement.json")
            shared.doit(member, "model-report", "-o", "report.html")
            settle_in_every_process()
            shared.doit(member, "provision")
            assert shared.doit(member, "model-why").out.count("is current") == 2
            assert shared.doit(member, "model-list").out.count("Active") == 2
            shared.doit(member, "model-retire", "tiny")
            assert shared.handoff("tiny") is None
            shared.doit(member, "model-retire", "--undo", "tiny")


def test_what_one_of_them_withdraws_the_other_writes_again(shared):
    anna, ben = shared.members
    shared.doit(anna, "provision")
    shared.write("models/tiny.gguf", TINY.read_bytes()[:-1])
    assert "FAIL  tiny" in shared.doit(ben, "provision", code=1).out
    assert shared.handoff("tiny") is None
    shared.write("models/tiny.gguf", TINY.read_bytes())
    shared.doit(anna, "provision")
    assert shared.handoff("tiny")


def test_a_member_finishes_what_a_killed_run_of_the_other_left(shared):
    """Drafts, and half a line of the log: files of the other's."""
    anna, ben = shared.members
    shared.doit(anna, "provision")
    for name in (".runtime/engines/tiny.json", ".runtime/digests/tiny.sha256"):
        (shared.root / name).unlink()
    left = [".runtime/engines/.tiny.json.tmp", ".runtime/digests/.tiny.sha256.tmp", ".models.lock.tmp"]
    for name in left:
        anna.run("sh", "-c", f"printf half > {name}", cwd=shared.root)
    anna.run("sh", "-c", "printf '{' >> .runtime/provenance/models.jsonl", cwd=shared.root)
    shared.doit(ben, "provision", "--full")
    shared.doit(ben, "model-lock")
    assert not any((shared.root / name).exists() for name in left)
    assert shared.handoff("tiny")
    lines = (shared.root / ".runtime/provenance/models.jsonl").read_text().splitlines()
    assert lines[-1] != "{"
    shared.doit(anna, "model-verify", "--full")


def test_a_member_evicts_and_fetches_what_the_other_fetched(shared):
    anna, ben = shared.members
    shared.doit(anna, "provision")
    blob = shared.store / "blobs" / "sha256" / TINY_SHA[:2] / TINY_SHA
    assert blob.stat().st_uid == anna.number
    shared.write("models.yaml", (shared.root / "models.yaml").read_text().replace('"far"', '"farther"'))
    shared.doit(ben, "provision")
    assert blob.stat().st_uid == anna.number  # it was not fetched again
    (shared.root / "models.yaml").write_text(
        (shared.root / "models.yaml").read_text().replace(f', "farther": {{"model_ref": "{ONE}"}}', "")
    )
    shared.doit(anna, "provision")
    shared.doit(ben, "provision")
    shutil.rmtree(anna.state)  # what anna used is known of in the store alone, and was a month ago
    for use in (shared.store / "uses").iterdir():
        os.utime(use, (1e9, 1e9))
    assert "gone" in shared.doit(ben, "model-prune", "--older-than", "0d").out
    assert not blob.exists()
    shared.write(
        "models.yaml",
        (shared.root / "models.yaml")
        .read_text()
        .replace('"models": {', f'"models": {{"far": {{"model_ref": "{ONE}"}}, '),
    )
    shared.doit(ben, "provision")
    assert blob.stat().st_uid == ben.number
    shared.doit(anna, "provision", "--full")


def test_a_store_that_is_another_users_is_used_as_far_as_it_goes(shared):
    """Read-only to us: what it holds is verified and handed off, what it lacks fails by name."""
    anna, ben = shared.members
    shared.doit(anna, "model-lock")
    shared.doit(anna, "provision", "--full")
    for path in (shared.store, *shared.store.rglob("*")):
        if not path.is_symlink():
            anna.owns(path)
            path.chmod(0o755 if path.is_dir() else 0o444)
    shared.doit(ben, "provision", "--full")
    assert shared.handoff("far")["model"]["path"].startswith(str(shared.store))
    assert "2 models: 2 the same" in shared.doit(ben, "model-check").out
    shared.write("models.yaml", (shared.root / "models.yaml").read_text().replace(ONE, "hf:org/tiny/config.json"))
    answer = shared.doit(ben, "provision", code=2)
    assert "FAIL  far  " in answer.out
    assert f"{shared.store}/" in answer.out
    assert "Permission denied" in answer.out
    assert shared.handoff("far") is None
    assert shared.handoff("tiny")


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_nothing_is_made_for_everybody_to_write(shared, umask):
    """Whatever the umask, in a project that everybody may write, too."""
    shared.root.chmod(0o777)
    anna = User(shared.members[0].number, shared.members[0].home, umask)
    for arguments in (["provision"], ["model-lock"], ["model-attest", "tiny", "-o", "a"], ["model-report", "-o", "r"]):
        shared.doit(anna, *arguments)
    tops = shared.root / ".runtime", shared.store, anna.home
    made = [shared.root / name for name in ("models.lock", "a", "r")]
    for top in tops:
        made += [top, *top.rglob("*")]
    assert not [path for path in made if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH]
    private = [path for path in (anna.state, *anna.state.rglob("*")) if not path.is_symlink()]
    assert len(private) > 5
    assert not [path for path in private if path.stat().st_mode & stat.S_IWGRP]
