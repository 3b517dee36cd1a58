"""What is on this disk already: in other programs' caches, in our store, whole or damaged."""

import os
import shutil

import pytest

from model_provisioner.engine.events import ReadingBegins
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import UnsoundModelError
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.store import Store
from tests.support.project import read_only
from tests.support.remote import FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, resolved, sha256


# ---- what is on this disk already


def in_hub_cache(remote):
    place = remote.project.root.parent / "hf" / "hub" / "models--other--name" / "blobs" / TINY_SHA
    return place, "the Hugging Face cache"


def in_ollama(remote):
    return remote.home / ".ollama/models/blobs" / f"sha256-{TINY_SHA}", "Ollama"


def in_lm_studio(remote):
    return remote.home / ".lmstudio/models/org/repo/x.gguf", "LM Studio"


@pytest.mark.parametrize("place", [in_hub_cache, in_ollama, in_lm_studio])
@pytest.mark.parametrize("policy", [[], ["127.0.0.1", "localhost"]])
def test_what_another_program_has_is_adopted(remote, hub, web, place, policy):
    path, source = place(remote)
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY_BYTES)
    one = "hf:org/tiny/x.gguf"
    hub.add("org/tiny", {"x.gguf": TINY_BYTES})
    expected = {"expected_digest": f"sha256:{TINY_SHA}"}
    remote.models(
        {"hub": {"model_ref": one, **expected}, "web": {"model_ref": web.url("/x.gguf"), **expected}}, allow=policy
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


@pytest.mark.parametrize("place", [in_hub_cache, in_ollama, in_lm_studio])
def test_what_another_program_has_is_believed_no_word(remote, hub, web, place):
    path, _ = place(remote)
    path.parent.mkdir(parents=True)
    path.write_bytes(FLIPPED)
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": {"model_ref": web.url("/x.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}})
    answer = remote.provision()
    assert "fetched from localhost" in answer.out
    assert len(web.asked) == 1
    assert remote.bytes_of("x") == TINY_BYTES
    assert remote.on_the_way() == []


def test_a_copy_of_another_name_is_found_when_the_server_says_how_long_the_file_is(remote, web):
    """Of LM Studio's files the size says which may be the one; no byte of the file's is read from the server then."""
    body = TINY_BYTES + bytes(64 << 20)  # more than a connection holds
    path = remote.home / ".lmstudio/models/org/repo/another.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    (path.parent / "as long.gguf").write_bytes(body[:-1] + b"1")
    web.files["/x.gguf"] = body
    sent = []
    web.sent = sent.append
    remote.models({"x": {"model_ref": web.url("/x.gguf"), "expected_digest": f"sha256:{sha256(body)}"}})
    answer = remote.provision()
    assert "taken from LM Studio" in answer.out
    assert "fetched from" not in answer.out
    assert sum(sent) < len(body) // 2
    assert remote.bytes_of("x") == body
    assert remote.on_the_way() == []


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
    remote.models({"a": ONE, "b": "hf:org/copy/copy.gguf", "c": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
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


@pytest.mark.parametrize("at", [0, 50_000])  # in the header, which is read first, and behind it
@pytest.mark.parametrize("pinned", [False, True])
def test_a_blob_that_rotted_is_put_away_and_fetched_again(tiny, hub, pinned, at):
    tiny.models({"tiny": {"model_ref": ONE, **({"expected_digest": f"sha256:{TINY_SHA}"} if pinned else {})}})
    tiny.provision()
    blob = tiny.path("tiny").resolve()
    blob.chmod(0o644)
    with open(blob, "r+b") as file:
        file.seek(at)
        file.write(b"rotten")
    path = tiny.path("tiny")
    answer = tiny.provision(code=1)
    (away,) = (tiny.cache / "quarantine").iterdir()
    assert answer.out.startswith(
        "FAIL  tiny  a fetched file is damaged: it holds other bytes than it came with\n"
        f"        where     {path}\n"
        f"        expected  sha256:{TINY_SHA}\n"
        f"        found     sha256:{sha256(away.read_bytes())}\n"
        f"        fix       run `doit provision`, and it is fetched again; the damaged one is kept for a week as {away}\n"
    )
    assert tiny.project.handoff("tiny") is None
    answer = tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.blobs() == {TINY_SHA}
    assert b"rotten" in away.read_bytes()


# ---- what came wrong

PAGE = b"<!DOCTYPE html><html><body>log in</body></html>"


AGAIN = "or run again, and its source is asked again\n"


@pytest.fixture
def lora(tiny_models) -> bytes:
    return (tiny_models / "tiny-llama-lora.gguf").read_bytes()


@pytest.mark.parametrize("wrong", [PAGE, TINY_BYTES[:60_000], b"", "lora"])
@pytest.mark.parametrize("full", [[], ["--full"]])
def test_a_wrong_body_is_asked_for_again_and_not_sent_again_as_long_as_it_is_the_same(remote, web, lora, wrong, full):
    wrong = lora if wrong == "lora" else wrong
    web.files["/tiny.gguf"] = wrong
    remote.models({"tiny": web.url("/tiny.gguf")})
    for _ in range(3):
        assert AGAIN in remote.provision(*full, code=1).out
        assert (remote.project.handoff("tiny"), remote.blobs()) == (None, {sha256(wrong)})
    assert [asked.headers.get("if-none-match") for asked in web.asked] == [None, *[f"{web.etag('/tiny.gguf')}"] * 2]
    assert web.sent == len(wrong)
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.provision(*full)
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert remote.blobs() == {TINY_SHA}
    (away,) = (remote.cache / "quarantine").iterdir()
    assert away.read_bytes() == wrong


def test_a_wrong_body_that_came_again_is_asked_for_by_the_name_of_its_last_version(remote, web):
    remote.models({"tiny": web.url("/tiny.gguf")})
    for wrong in (PAGE, b"<html>another</html>"):
        web.files["/tiny.gguf"] = wrong
        remote.provision(code=1)
        web.asked.clear()
        before = web.sent
        remote.provision(code=1)
        assert [asked.headers["if-none-match"] for asked in web.asked] == [web.etag("/tiny.gguf")]
        assert web.sent == before
    assert remote.blobs() == {sha256(b"<html>another</html>")}


def test_a_source_without_etags_is_asked_by_the_time_of_the_last_change(remote, web):
    web.files["/tiny.gguf"] = PAGE
    web.manners.etag, web.manners.last_modified = None, 1_000_000_000
    remote.models({"tiny": web.url("/tiny.gguf")})
    for _ in range(2):
        assert AGAIN in remote.provision(code=1).out
    assert web.asked[-1].headers["if-range"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert web.sent == len(PAGE) + 1, "the last byte, if the file is of that date"
    web.files["/tiny.gguf"], web.manners.last_modified = (
        TINY_BYTES,
        900_000_000,
    )  # older: it was copied there with its times
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


def test_a_source_that_names_no_versions_has_to_send_a_wrong_body_again(remote, web):
    web.files["/tiny.gguf"] = PAGE
    web.manners.etag = None
    remote.models({"tiny": web.url("/tiny.gguf")})
    for times in (1, 2):
        assert AGAIN in remote.provision(code=1).out
        assert (len(web.asked), web.sent) == (times, times * len(PAGE))
    assert remote.blobs() == {sha256(PAGE)}


def test_a_wrong_body_that_this_user_did_not_download_is_sent_once_more(remote, web):
    """What the store says of it may be anybody's."""
    web.files["/tiny.gguf"] = PAGE
    remote.models({"tiny": web.url("/tiny.gguf")})
    remote.provision(code=1)
    shutil.rmtree(remote.project.state)
    for _ in range(2):
        remote.provision(code=1)
    assert ["if-none-match" in asked.headers for asked in web.asked] == [False, False, True]
    assert web.sent == 2 * len(PAGE)


def test_trouble_when_a_source_is_asked_again_is_told_as_that_of_any_fetch(remote, web):
    web.files["/tiny.gguf"] = PAGE
    remote.models({"tiny": web.url("/tiny.gguf")})
    remote.provision(code=1)
    del web.files["/tiny.gguf"]
    assert "FAIL  tiny  localhost has no such file\n" in remote.provision(code=1).out
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.provision()


def test_of_a_file_in_the_wrong_field_nobody_is_asked_when_it_is_put_into_the_right_one(remote, web, lora):
    web.files |= {"/tiny.gguf": TINY_BYTES, "/style.gguf": lora}
    remote.models({"tiny": web.url("/style.gguf")})
    assert "fix       name it under lora: of the model that it was made for; " + AGAIN in remote.provision(code=1).out
    web.asked.clear()
    (remote.root / "tiny.gguf").write_bytes(TINY_BYTES)
    remote.models({"tiny": {"model_ref": "file:tiny.gguf", "lora": [{"model_ref": web.url("/style.gguf")}]}})
    remote.provision("--offline")
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert web.asked == []


@pytest.mark.parametrize("wrong", [PAGE, TINY_BYTES + bytes(32)])
def test_of_a_wrong_companion_alone_the_source_is_asked_again(remote, web, lora, wrong):
    web.files |= {"/tiny.gguf": TINY_BYTES, "/style.gguf": wrong}
    remote.models({"tiny": {"model_ref": web.url("/tiny.gguf"), "lora": [{"model_ref": web.url("/style.gguf")}]}})
    remote.provision(code=1)
    web.asked.clear()
    assert AGAIN in remote.provision(code=1).out
    assert [(asked.path, "if-none-match" in asked.headers) for asked in web.asked] == [("/style.gguf", True)]
    web.files["/style.gguf"] = lora
    remote.provision()
    assert remote.blobs() == {TINY_SHA, sha256(lora)}


def test_what_the_hub_has_wrong_is_asked_for_again_and_not_sent_again(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": PAGE})
    remote.models({"tiny": ONE})
    for _ in range(2):
        assert AGAIN in remote.provision(code=1).out
    assert resolved(hub) == ["tiny.gguf"]
    hub.add("org/tiny", REPO)
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


def test_a_wrong_body_that_is_expected_stays(remote, web):
    web.files["/tiny.gguf"] = PAGE
    remote.models({"tiny": {"model_ref": web.url("/tiny.gguf"), "expected_digest": f"sha256:{sha256(PAGE)}"}})
    for _ in range(2):
        assert "asked again" not in remote.provision(code=1).out
    assert remote.blobs() == {sha256(PAGE)}
    assert len(web.asked) == 1


def test_a_wrong_body_that_another_reference_names_stays_for_it(remote, web):
    web.files["/tiny.bin"] = web.files["/tiny.gguf"] = b"no GGUF, and no page"
    remote.models({"bin": web.url("/tiny.bin")})
    remote.provision()
    remote.models({"bin": web.url("/tiny.bin"), "tiny": web.url("/tiny.gguf")})
    remote.provision(code=1)
    assert remote.bytes_of("bin") == b"no GGUF, and no page"
    assert not (remote.cache / "quarantine").exists()


def test_links_that_were_changed_by_hand_are_made_again(tiny, hub):
    tiny.provision()
    hub.forget()
    path = tiny.path("tiny")
    path.unlink()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert resolved(hub) == []


# ---- a tree that is not what its record says


def remove(tree, other):
    (tree / "config.json").unlink()
    return "config.json is missing"


def add_a_file(tree, other):
    (tree / "notes.txt").write_bytes(b"not fetched")
    return "notes.txt was not fetched"


def add_a_link(tree, other):
    (tree / "sub" / "again.json").symlink_to(tree / "config.json")
    return "sub/again.json was not fetched"


def add_a_folder(tree, other):
    (tree / ".git").mkdir()
    (tree / ".git" / "hooks").write_bytes(b"")
    return ".git/hooks was not fetched"


def exchange(tree, other):
    link = tree / "tiny.gguf"
    link.unlink()
    link.symlink_to(os.path.relpath(other, link.parent))
    return "tiny.gguf is another file"


def take_by_another_way(tree, other):
    link = tree / "tiny.gguf"
    target = link.resolve()
    link.unlink()
    link.symlink_to(target)
    return "tiny.gguf is another file"


def make_regular(tree, other):
    link = tree / "tiny.gguf"
    data = link.read_bytes()
    link.unlink()
    link.write_bytes(data)
    return "tiny.gguf is another file"


CHANGES = [remove, add_a_file, add_a_link, add_a_folder, exchange, take_by_another_way, make_regular]


@pytest.fixture(params=["unlocked", "locked", "expected"])
def repository(request, remote, hub):
    """A repository that was fetched whole and handed off, beside one of another model."""
    hub.add("org/tiny", REPO)
    hub.add("org/other", {"tiny.gguf": FLIPPED})
    entries = {"repo": {"model_ref": "hf:org/tiny", "engine": "vllm"}, "other": "hf:org/other/tiny.gguf"}
    remote.models(entries)
    remote.provision()
    if request.param == "locked":
        remote.doit("model-lock")
    elif request.param == "expected":
        digest = remote.project.rows()["repo"]["digest"]
        remote.models({**entries, "repo": {"model_ref": "hf:org/tiny", "engine": "vllm", "expected_digest": digest}})
    remote.provision()
    remote.provision()  # by the snapshot from here on
    hub.forget()
    return remote


@pytest.mark.parametrize("change", CHANGES)
def test_a_tree_that_was_changed_is_made_again_from_its_blobs(repository, hub, change):
    tree, whole = repository.path("repo"), repository.bytes_of("repo")
    found = change(tree, repository.path("other").resolve())
    assert "the fetched files of the model are not as they were fetched" in repository.project.why("repo")
    assert f"  found     {found}\n" in repository.doit("model-check", code=1).out
    repository.provision("--offline")
    assert repository.bytes_of("repo") == whole
    assert not (tree / ".git").exists()
    assert hub.requests == []
    assert "the fetched files" not in repository.doit("model-check", code=None).out
    assert "2 models: 2 current" in repository.provision().out


def test_an_audit_hands_off_no_changed_tree(repository, hub):
    whole = repository.bytes_of("repo")
    add_a_file(repository.path("repo"), None)
    answer = repository.doit("model-verify", "repo", code=1)
    assert "the fetched files of the model are not as they were fetched" in answer.out
    assert repository.project.handoff("repo") is None
    repository.provision()
    assert repository.bytes_of("repo") == whole


def test_a_changed_tree_whose_blob_is_gone_is_fetched_again_and_offline_not_handed_off(repository, hub):
    whole = repository.bytes_of("repo")
    tree = repository.path("repo")
    blob = (tree / "config.json").resolve()
    blob.unlink()
    remove(tree, None)
    answer = repository.provision("--offline", code=1)
    assert "this run is offline (--offline)" in answer.out
    assert repository.project.handoff("repo") is None
    repository.provision()
    assert repository.bytes_of("repo") == whole
    assert resolved(hub) == ["config.json"]


@pytest.mark.parametrize("change", [exchange, take_by_another_way, make_regular])
def test_the_tree_of_a_single_file_is_made_again(tiny, hub, change):
    hub.add("org/other", {"tiny.gguf": FLIPPED})
    tiny.models({"tiny": ONE, "other": "hf:org/other/tiny.gguf"})
    tiny.provision()
    hub.forget()
    change(tiny.path("tiny").parent, tiny.path("other").resolve())
    tiny.provision("--offline")
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.path("tiny").is_symlink()
    assert hub.requests == []


@pytest.mark.parametrize("change", [exchange, add_a_file, add_a_link])
def test_a_tree_that_changes_while_it_is_read_is_not_handed_off(remote, hub, change, monkeypatch):
    hub.add("org/tiny", REPO)
    hub.add("org/other", {"tiny.gguf": FLIPPED})
    remote.models({"repo": {"model_ref": "hf:org/tiny", "engine": "vllm"}, "other": "hf:org/other/tiny.gguf"})
    remote.provision()
    monkeypatch.setattr(os, "environ", {**os.environ, **remote.environ})
    tree, other = remote.path("repo"), remote.path("other").resolve()
    left = [change]

    def progress(event):
        if isinstance(event, ReadingBegins) and left:
            left.pop()(tree, other)

    work = open_workspace(
        str(remote.root / "models.yaml"), state=str(remote.project.state), rules=Rules(full=True), progress=progress
    )
    with Run(work) as run, pytest.raises(UnsoundModelError) as raised:
        run.provision_one("repo")
    assert raised.value.what == "the fetched files of the model are not as they were fetched"
    assert remote.project.handoff("repo") is None


def test_a_record_of_somebody_else_is_believed_about_no_origin(remote, hub):
    """It names a file that its repository never had, and others that are still to come."""
    hub.add("org/tiny", REPO)
    remote.models({"repo": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    files = {name: sha256(data) for name, data in {**REPO, "tiny.gguf": FLIPPED}.items()}
    store = Store(str(remote.cache))
    blob = remote.cache / "blobs/sha256" / files["tiny.gguf"][:2] / files["tiny.gguf"]
    store.folder(f"blobs/sha256/{blob.parent.name}")
    blob.write_bytes(FLIPPED)
    blob.chmod(0o444)
    stored = tuple(StoredFile(name=name, size=len(REPO[name]), sha256=digest) for name, digest in files.items())
    tree = store.make_tree("hf:org/tiny", files, folder=True)
    store.record(Record(ref="hf:org/tiny", revision=hub.references["org/tiny"]["main"], files=stored, tree=tree))
    store.close()
    remote.provision()
    row = remote.project.rows()["repo"]
    assert (row["outcome"], row["source"], row["revision"]) == ("warn", None, None)
    remote.doit("model-lock")
    assert TINY_SHA in remote.lock.read_text()
    assert files["tiny.gguf"] not in remote.lock.read_text()
    remote.provision()
    row = remote.project.rows()["repo"]
    assert (row["source"], row["revision"]) == ("hf:org/tiny", hub.references["org/tiny"]["main"])
    assert remote.bytes_of("repo") == REPO


def test_what_file_managers_leave_is_no_part_of_a_tree(tiny, hub):
    tiny.provision()
    (tiny.path("tiny").parent / ".DS_Store").write_bytes(b"")
    assert "the fetched files" not in tiny.doit("model-check", code=None).out


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
