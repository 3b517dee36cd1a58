"""What is on this disk already: in other programs' caches, in our store, whole or damaged."""

import os
import shutil

import pytest

from tests.support.project import read_only
from tests.support.remote import FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, resolved, sha256


# ---- what is on this disk already


def in_hub_cache(remote):
    place = remote.project.root.parent / "hf" / "hub" / "models--other--name" / "blobs" / TINY_SHA
    return place, "the Hugging Face cache"


def in_ollama(remote):
    return remote.home / ".ollama/models/blobs" / f"sha256-{TINY_SHA}", "Ollama"


@pytest.mark.parametrize("place", [in_hub_cache, in_ollama])
@pytest.mark.parametrize("policy", [[], ["127.0.0.1", "localhost"]])
def test_what_another_program_has_is_adopted(remote, hub, web, place, policy):
    path, source = place(remote)
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY_BYTES)
    hub.add("org/tiny", REPO)
    expected = {"expected_digest": f"sha256:{TINY_SHA}"}
    remote.models(
        {"hub": {"model_ref": ONE, **expected}, "web": {"model_ref": web.url("/x.gguf"), **expected}}, allow=policy
    )
    answer = remote.provision()
    assert source in answer.out
    assert (hub.requests, web.asked) == ([], [])
    assert remote.bytes_of("hub") == remote.bytes_of("web") == TINY_BYTES
    assert remote.path("web").name == "x.gguf"
    assert remote.blobs() == {TINY_SHA}
    assert not os.path.samefile(path, remote.path("hub"))
    assert path.read_bytes() == TINY_BYTES
    path.write_bytes(b"its owner goes on")
    assert remote.bytes_of("hub") == TINY_BYTES


def test_what_another_program_has_is_believed_no_word(tiny, hub):
    path, _ = in_ollama(tiny)
    path.parent.mkdir(parents=True)
    path.write_bytes(FLIPPED)
    tiny.models({"tiny": {"model_ref": ONE, "expected_digest": f"sha256:{TINY_SHA}"}})
    tiny.provision()
    assert resolved(hub) == ["tiny.gguf"]
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_lfs_digests_of_the_listing_find_what_another_program_has(tiny, hub):
    path, source = in_hub_cache(tiny)
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY_BYTES)
    assert source in tiny.provision().out
    assert resolved(hub) == []
    assert len(hub.requests) == 2  # the commit, and its files


def test_the_same_bytes_under_two_names_come_once_and_lie_once(remote, hub, web):
    hub.add("org/tiny", REPO)
    hub.add("org/copy", {"copy.gguf": TINY_BYTES})
    remote.models({"a": ONE, "b": "hf:org/copy/copy.gguf", "c": "hf:org/tiny@main/tiny.gguf"})
    remote.provision()
    assert len(resolved(hub)) == 1
    assert remote.blobs() == {TINY_SHA}
    assert {remote.path(name).resolve() for name in "abc"} == {remote.path("a").resolve()}
    assert remote.path("b").name == "copy.gguf"
    before = disk_use(remote.cache)
    remote.models({"a": ONE, "b": "hf:org/copy/copy.gguf", "c": "hf:org/tiny"})
    remote.provision()
    assert disk_use(remote.cache) - before < len(TINY_BYTES)


def disk_use(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


# ---- damage to the store


def test_a_blob_that_was_deleted_is_fetched_again_at_the_same_commit(tiny, hub):
    tiny.provision()
    commit = hub.references["org/tiny"]["main"]
    hub.add("org/tiny", {**REPO, "tiny.gguf": TINY_BYTES + b"\0" * 32})  # the branch moved
    hub.forget()
    blob = tiny.path("tiny").resolve()
    blob.unlink()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert [request.path for request in hub.requests] == [f"/org/tiny/resolve/{commit}/tiny.gguf"]


def test_a_deleted_cache_is_filled_again(tiny, hub):
    tiny.provision()
    tiny.empty_cache()
    answer = tiny.provision()
    assert "1 model: 1 done" in answer.out
    assert tiny.bytes_of("tiny") == TINY_BYTES
    tiny.empty_cache()
    answer = tiny.provision("--offline", code=1)
    assert "this run is offline (--offline)" in answer.out
    assert tiny.project.handoff("tiny") is None


@pytest.mark.parametrize("pinned", [False, True])
def test_a_blob_that_rotted_is_put_away_and_fetched_again(tiny, hub, pinned):
    tiny.models({"tiny": {"model_ref": ONE, **({"expected_digest": f"sha256:{TINY_SHA}"} if pinned else {})}})
    tiny.provision()
    blob = tiny.path("tiny").resolve()
    blob.chmod(0o644)
    with open(blob, "r+b") as file:
        file.seek(50_000)
        file.write(b"rotten")
    path = tiny.path("tiny")
    answer = tiny.provision(code=1)
    (away,) = (tiny.cache / "quarantine").iterdir()
    assert answer.out.startswith(
        "FAIL  tiny  a fetched file is damaged: it holds other bytes than it came with\n"
        f"        where     {path}\n"
        f"        expected  sha256:{TINY_SHA}\n"
        f"        found     sha256:{sha256(away.read_bytes())}\n"
        f"        fix       run again, and it is fetched again; the damaged one is kept for a week as {away}\n"
    )
    assert tiny.project.handoff("tiny") is None
    answer = tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.blobs() == {TINY_SHA}
    assert b"rotten" in away.read_bytes()


def test_links_that_were_changed_by_hand_are_made_again(tiny, hub):
    tiny.provision()
    hub.forget()
    path = tiny.path("tiny")
    path.unlink()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert resolved(hub) == []


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("unshare") is None, reason="needs a read-only file system")
def test_a_cache_that_can_not_be_written_is_told(tiny, hub):
    tiny.cache.mkdir()
    environ = {**os.environ, **tiny.environ}
    os_environ, os.environ = os.environ, environ
    try:
        code, out = tiny.project.mounted(read_only(tiny.cache), "provision")
    finally:
        os.environ = os_environ
    if "unshare" in out and "denied" in out:
        pytest.skip("no user namespaces here")
    assert code == 2
    assert "a folder of the store can't be made" in out or "a file of the store could not be written" in out
    assert "fix" in out and "cache_dir" in out
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    (tiny.root / ".runtime/engines/tiny.json").unlink()
    os.environ = environ
    try:
        code, out = tiny.project.mounted(read_only(tiny.cache), "provision")
    finally:
        os.environ = os_environ
    assert code == 0, out  # what is here needs no writing
