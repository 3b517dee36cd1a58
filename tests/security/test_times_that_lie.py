"""File systems on which bytes change while every time stays: nothing there is current by its stat."""

from __future__ import annotations

import json
import mmap
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from model_provisioner.fs.clock import unseen_on
from model_provisioner.hashing import memo
from tests.support.disks import attached, need_mounts
from tests.support.project import TINY, Project, settle

GOOD = TINY.read_bytes()
BAD = GOOD[:-64] + bytes(64)
EXPECTED = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"


def configure(project: Project, *paths: Path, expected: bool = True, recheck: str = "xxh3") -> None:
    entry = {"expected_digest": f"sha256:{EXPECTED}"} if expected else {}
    models = {path.stem: {"model_ref": f"file:{path}", **entry} for path in paths}
    handoff = {"handoff": "{runtime_dir}/engines/{name}.json"}
    project.models(json.dumps({"recheck": recheck, "defaults": handoff, "models": models}))


def kept(project: Project, name: str) -> tuple[int, int]:
    """Return what tells whether a handoff was written again."""
    found = (project.root / f".runtime/engines/{name}.json").stat()
    return found.st_ino, found.st_ctime_ns


@pytest.fixture
def memory():
    """A folder in memory."""
    if not os.path.isdir("/dev/shm") or unseen_on("/dev/shm/.", os.stat("/dev/shm").st_dev) is None:
        pytest.skip("there is no tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def model(memory):
    path = memory / "t.gguf"
    path.write_bytes(GOOD)
    return path


class OldMapping:
    """A shared mapping of a whole file whose pages were written to before: a store through it moves no time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("r+b") as file:
            self._mapping = mmap.mmap(file.fileno(), 0)
        self._mapping[:] = path.read_bytes()

    def store(self, data: bytes) -> None:
        """Change the bytes, and hold that no time tells."""
        before = self._path.stat()
        self._mapping[:] = data
        after = self._path.stat()
        assert self._path.read_bytes() == data
        assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


@pytest.fixture
def store(model):
    """Change the model through a mapping that is older than its verification."""
    mapping = OldMapping(model)
    return lambda: mapping.store(BAD)


def test_a_model_in_memory_is_current_as_long_as_its_bytes_are_the_same(project, model):
    configure(project, model)
    settle()
    project.provision()
    before = kept(project, "t")
    for _ in range(2):
        assert "1 model: 1 current" in project.provision().out
        assert kept(project, "t") == before
    assert "1 model: 1 current" in project.provision("t").out
    assert project.doit(code=None).code in {0, 3}
    assert kept(project, "t") == before


def test_a_store_through_a_mapping_is_found_by_the_next_run(project, model, store):
    configure(project, model)
    settle()
    project.provision()
    project.provision()
    store()
    answer = project.provision(code=1)
    assert "the digest differs from what is expected" in answer.out
    assert project.handoff("t") is None


def test_without_an_expected_digest_the_new_bytes_are_handed_off_as_what_they_are(project, model, store):
    configure(project, model, expected=False)
    settle()
    project.provision()
    old = project.handoff("t")["metadata"]["digest"]
    store()
    project.provision()
    assert project.handoff("t")["metadata"]["digest"] != old


def test_check_and_verify_find_it_too(project, model, store):
    configure(project, model)
    settle()
    project.provision()
    assert project.doit("model-check").code == 0
    store()
    assert "t.gguf is not what" in (found := project.doit("model-check", code=1).out) or "differs" in found
    assert "FAIL" in project.doit("model-verify", code=1).out


def test_its_path_is_told_when_its_bytes_were_compared_and_not_after_a_store(project, model, store):
    configure(project, model)
    settle()
    project.provision()
    for _ in range(2):
        assert project.program("path", "t").out == f"{model}\n"
    store()
    answer = project.program("path", "t", code=1)
    assert answer.out == ""
    assert "  found     the digest differs from what is expected; " in answer.err


def test_why_says_that_its_bytes_are_compared_on_every_run(project, model, store):
    configure(project, model)
    settle()
    project.provision()
    text = "on tmpfs bytes may change and leave the times as they were, content same (xxh3)"
    assert project.doit("model-why", "t").out == f"t is current: nothing would be done\n  verify    {text}\n"
    found = project.json("model-why", "t")
    (model,) = found["models"]
    assert (found["result"], [reason["text"] for reason in model["reasons"]]) == ({"current": ["t"]}, [text])
    store()
    found = project.json("model-why", "t")
    (model,) = found["models"]
    assert found["result"] == {"current": []}
    assert model["reasons"][0]["text"].startswith(
        "on tmpfs bytes may change and leave the times as they were, content differs"
    )


def test_its_handoff_stands_while_its_bytes_are_compared_and_those_that_moved_are_gone_by_then(
    project, model, monkeypatch, tmp_path
):
    moved = tmp_path / "moved.gguf"
    moved.write_bytes(GOOD)
    configure(project, model, moved)
    settle()
    project.provision()
    os.utime(moved)
    seen = []

    def looking(fd, *rest, real=memo.fingerprint):
        seen.append({name: project.handoff(name) is not None for name in ("t", "moved")})
        return real(fd, *rest)

    monkeypatch.setattr(memo, "fingerprint", looking)
    assert "2 models: 1 done, 1 current" in project.provision().out
    assert seen[0] == {"t": True, "moved": False}
    seen.clear()
    assert "2 passed" in project.doit("model-verify").out
    assert seen[0]["t"]


def test_under_recheck_sha256_every_run_hashes_it_and_its_handoff_stands(project, model, store):
    configure(project, model, recheck="sha256")
    settle()
    project.provision()
    before = kept(project, "t")
    assert "1 model: 1 current" in project.provision().out
    assert kept(project, "t") == before
    store()
    project.provision(code=1)


def test_a_link_to_a_model_in_memory_is_no_other_case(project, model, store, tmp_path):
    link = tmp_path / "linked.gguf"
    link.symlink_to(model)
    configure(project, link)
    settle()
    project.provision()
    assert "1 model: 1 current" in project.provision().out
    store()
    project.provision(code=1)
    assert project.handoff("linked") is None


def test_handoffs_in_memory_are_looked_at_on_every_run(memory, tmp_path):
    """No stat tells that one was changed."""
    (memory / "project").mkdir()
    project = Project(memory / "project", tmp_path / "state")
    path = tmp_path / "t.gguf"
    path.write_bytes(GOOD)
    configure(project, path)
    settle()
    project.provision()
    handoff = project.root / ".runtime/engines/t.json"
    good = handoff.read_bytes()
    mapping = OldMapping(handoff)
    project.provision()
    mapping.store(good.replace(EXPECTED.encode(), b"0" * 64))
    project.process("provision")
    assert handoff.read_bytes() == good


# ---- images


def image(folder: Path, name: str, data: bytes) -> Path:
    """Make a squashfs image of one model, with times that don't tell it from another one."""
    content = folder / name
    content.mkdir()
    (content / "t.gguf").write_bytes(data)
    path = folder / f"{name}.squashfs"
    command = [
        "mksquashfs",
        content,
        path,
        "-quiet",
        "-no-progress",
        "-all-time",
        "1000000000",
        "-mkfs-time",
        "1000000000",
    ]
    subprocess.run([*command, "-noD", "-noI", "-noF"], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("covered", [False, True], ids=["alone", "below an overlay"])
def test_an_image_that_another_one_with_equal_times_replaced(project, tmp_path, covered):
    need_mounts("mksquashfs")
    place = tmp_path / "image.squashfs"
    place.write_bytes(image(tmp_path, "good", GOOD).read_bytes())
    other = image(tmp_path, "bad", BAD).read_bytes()
    assert len(other) == place.stat().st_size
    merged = tmp_path / "merged"
    for name in ("merged", "upper", "work"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/mounted,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    with attached(place, tmp_path / "mounted") as disk:

        def mount():
            disk.mount("ro")
            if covered:
                subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", merged], check=True)

        def unmount():
            if covered:
                subprocess.run(["umount", merged], check=True)
            disk.unmount()

        model = (merged if covered else disk.at) / "t.gguf"
        configure(project, model)
        mount()
        before = model.stat()
        project.process("provision")
        assert "1 model: 1 current" in project.process("provision").out
        unmount()
        place.write_bytes(other)
        mount()
        after = model.stat()
        try:
            answer = project.process("provision", code=1)
        finally:
            unmount()
    told = (stat.ST_INO, stat.ST_SIZE, stat.ST_MTIME, stat.ST_CTIME)  # an overlay has any free number as its device
    assert [after[each] for each in told] == [before[each] for each in told]
    assert covered or after.st_dev == before.st_dev
    assert "the digest differs from what is expected" in answer.out
    assert project.handoff("t") is None
