"""What a remote reference resolves to, and what comes of it: `doit provision` against real servers."""

import re

import pytest

from tests.support.remote import ONE, README, REPO, TINY_BYTES, TINY_SHA, resolved, sha256


def test_one_file_of_a_repository(tiny, hub):
    answer = tiny.provision()
    assert answer.out.startswith(
        "warn  tiny  hashed 105.2 KB (fetched from 127.0.0.1) → .runtime/engines/tiny.json\n"
        f'      no digest is expected; `doit model-lock` pins all models; to pin these bytes add   expected_digest: "sha256:{TINY_SHA}"\n'
    )
    assert resolved(hub) == ["tiny.gguf"]
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.path("tiny").name == "tiny.gguf"
    assert tiny.blobs() == {TINY_SHA}
    assert tiny.on_the_way() == []
    (row,) = tiny.project.rows().values()
    assert row["revision"] == hub.references["org/tiny"]["main"]
    assert (row["id"], row["outcome"]) == (ONE, "warn")


def test_a_split_comes_whole(remote, hub, tiny_models):
    shards = {path.name: path.read_bytes() for path in tiny_models.glob("*-of-*")}
    hub.add("org/split", {f"q8/{name}": data for name, data in shards.items()} | {"README.md": README})
    remote.models({"split": f"hf:org/split/q8/{min(shards)}"})
    assert "warn  split  hashed" in remote.provision().out
    assert sorted(resolved(hub)) == [f"q8/{name}" for name in sorted(shards)]
    assert remote.path("split").name == min(shards)
    assert {name: (remote.path("split").parent / name).read_bytes() for name in shards} == shards


def test_a_split_by_url_comes_whole(remote, web, tiny_models):
    shards = {path.name: path.read_bytes() for path in tiny_models.glob("*-of-*")}
    web.files = {f"/a/{name}": data for name, data in shards.items()}
    remote.models({"split": web.url(f"/a/{min(shards)}?token=hidden")})
    remote.provision()
    assert sorted(asked.path for asked in web.asked) == [f"/a/{name}?token=hidden" for name in sorted(shards)]
    assert {name: (remote.path("split").parent / name).read_bytes() for name in shards} == shards
    assert b"hidden" not in remote.everything()


def test_a_whole_repository(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    remote.provision()
    assert remote.bytes_of("tiny") == REPO
    assert sorted(resolved(hub)) == sorted(REPO)


def test_include_and_exclude_choose_files_of_a_repository(remote, hub):
    hub.add("org/tiny", REPO)
    entry = {"model_ref": "hf:org/tiny", "engine": "vllm", "include": ["*.gguf", "*.json"], "exclude": ["sub/*"]}
    remote.models({"tiny": entry})
    remote.provision()
    assert sorted(remote.bytes_of("tiny")) == sorted(resolved(hub)) == ["config.json", "tiny.gguf"]
    hub.forget()
    remote.models({"tiny": {**entry, "exclude": []}})
    remote.provision()
    assert sorted(remote.bytes_of("tiny")) == ["config.json", "sub/more.json", "tiny.gguf"]
    # Of a small file the Hub knows no SHA-256: it is found by its git blob, which this user downloaded.
    assert resolved(hub) == ["sub/more.json"], "what is here already was fetched again"


def test_patterns_that_no_file_matches_are_told(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": {"model_ref": "hf:org/tiny", "include": ["*.bin"]}})
    answer = remote.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  no file of the repository matches include and exclude\n"
        "        where     hf:org/tiny\n"
        "        expected  one of 4 files\n"
        "        found     include: ['*.bin'], exclude: []\n"
        "        fix       compare the patterns with the list of files on the repository's page\n"
    )
    assert resolved(hub) == []


def test_a_revision_is_a_branch_a_tag_or_a_commit(remote, hub):
    old = hub.add("org/tiny", {"tiny.gguf": TINY_BYTES, "VERSION": b"1"})
    hub.references["org/tiny"]["v1"] = old
    hub.references["org/tiny"]["refs/pr/1"] = old
    new = hub.add("org/tiny", {"tiny.gguf": TINY_BYTES, "VERSION": b"2"})
    names = {"main": "", "tag": "@v1", "slash": "@refs%2Fpr%2F1", "commit": f"@{old}"}
    remote.models({name: {"model_ref": f"hf:org/tiny{at}", "engine": "vllm"} for name, at in names.items()})
    remote.provision()
    assert {name: remote.bytes_of(name)["VERSION"] for name in names} == {
        "main": b"2",
        "tag": b"1",
        "slash": b"1",
        "commit": b"1",
    }
    assert {name: row["revision"] for name, row in remote.project.rows().items()} == {
        "main": new,
        "tag": old,
        "slash": old,
        "commit": old,
    }
    assert len(remote.blobs()) == 3


def test_one_file_by_https(remote, web):
    web.files["/models/tiny.gguf"] = TINY_BYTES
    remote.models({"tiny": {"model_ref": web.url("/models/tiny.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}})
    answer = remote.provision()
    assert "pass  tiny  hashed 105.2 KB (fetched from localhost) → .runtime/engines/tiny.json\n" in answer.out
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert [asked.path for asked in web.asked] == ["/models/tiny.gguf"]


def test_an_upgrade_of_the_lock_takes_what_the_source_has_now(tiny, hub):
    tiny.doit("model-lock")
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES + b"!"})
    tiny.provision("--locked")
    assert tiny.bytes_of("tiny") == TINY_BYTES
    tiny.doit("model-lock", "--upgrade", "tiny")
    tiny.provision("--locked")
    assert tiny.bytes_of("tiny") == TINY_BYTES + b"!"
