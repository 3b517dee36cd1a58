"""What is advised for a Hub, for what comes from it and for where that lands, brings the model."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import yaml

from model_provisioner.installation import with_extra
from model_provisioner.fetchers import hub as fetcher
from tests.support import hub as faults
from tests.support.advice import advised, fix, fixes, follow
from tests.support.project import DODO, Answer
from tests.support.remote import CONFIG, FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, sha256

LISTING, FILES = "/api/models/*", "*/resolve/*"


# ---- what the Hub says


@pytest.mark.parametrize(
    ("sentence", "fault", "on"),
    [
        (
            "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
            faults.gated("org/tiny"),
            LISTING,
        ),
        (
            "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
            faults.gated("org/tiny"),
            FILES,
        ),
        (
            "check the spelling; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it",
            faults.no_repo(),
            LISTING,
        ),
        ("`hf auth login`, or set HF_TOKEN to a token that may read it", faults.unauthorized(), LISTING),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["HF_TOKEN", "hf auth login"])
def test_a_token_that_may_read_it_is_given(tiny, hub, sentence, fault, on, way):
    hub.fault(fault, on=on)
    advised(tiny.provision(code=1), sentence)
    hub.heal()  # the Hub lets in who has the token
    hub.forget()
    if way == "HF_TOKEN":
        tiny.environ["HF_TOKEN"] = "hf_good"
    else:  # which keeps it there
        home = tiny.project.root.parent / "hf"
        home.mkdir(exist_ok=True)
        (home / "token").write_text("hf_good")
    tiny.provision()
    assert hub.asked()[0].headers["authorization"] == "Bearer hf_good"


def test_a_repository_that_is_misspelt_is_checked(tiny):
    tiny.models({"tiny": "hf:org/tinny/tiny.gguf"})
    advised(
        tiny.provision(code=1),
        "check the spelling; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it",
    )
    tiny.models({"tiny": ONE})
    tiny.provision()


def test_a_branch_is_copied_with_its_percents(tiny, hub):
    hub.add("org/tiny", REPO, branch="new/x")
    tiny.models({"tiny": "hf:org/tiny@new/x/tiny.gguf"})
    advised(
        tiny.provision(code=1),
        "copy the name of a branch, a tag or a commit from its page, with %2F for each slash in it",
    )
    tiny.models({"tiny": "hf:org/tiny@new%2Fx/tiny.gguf"})
    tiny.provision()


@pytest.mark.parametrize("there", ["tinny.gguf", "quite-another.bin"])
def test_a_path_is_told_or_copied(tiny, there):
    tiny.models({"tiny": f"hf:org/tiny/{there}"})
    if there == "tinny.gguf":
        (meant,) = advised(tiny.provision(code=1), "did you mean {}?")
    else:
        advised(tiny.provision(code=1), "copy the path from the repository's page")
        meant = "tiny.gguf"
    tiny.models({"tiny": f"hf:org/tiny/{meant}"})
    tiny.provision()


def test_patterns_are_compared_with_the_files(tiny):
    tiny.models({"tiny": {"model_ref": "hf:org/tiny", "include": ["*.safetensors"]}})
    advised(tiny.provision(code=1), "compare the patterns with the list of files on the repository's page")
    tiny.models({"tiny": {"model_ref": "hf:org/tiny", "include": ["*.gguf", "*.json"]}})
    tiny.provision()


@pytest.mark.parametrize("way", ["another repository", "another engine"])
def test_a_repository_without_a_gguf_is_another_or_for_another_engine(tiny, hub, way):
    hub.add("org/st", {"model.bin": b"weights", "config.json": CONFIG})
    tiny.models({"tiny": "hf:org/st"})
    advised(tiny.provision(code=1), "name a repository or folder that holds a GGUF, or another engine")
    tiny.models({"tiny": ONE if way == "another repository" else {"model_ref": "hf:org/st", "engine": "vllm"}})
    tiny.provision()


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "a page"])
def test_another_hub_than_is_meant_is_corrected(tiny, hub, web, hurried, name, monkeypatch):
    good = tiny.environ["HF_ENDPOINT"]
    if name == "HF_ENDPOINT":
        tiny.environ["HF_ENDPOINT"] = "http://127.0.0.1:1"
        sentence = "{}; if another Hub is meant, correct HF_ENDPOINT"
        assert advised(tiny.provision(code=1), sentence) == ("try again later",)
    else:
        tiny.environ["HF_ENDPOINT"] = web.url("").rstrip("/")
        web.files["/api/models/org/tiny/revision/main"] = b"<html>Log in</html>"
        advised(
            tiny.provision(code=1),
            "check HF_ENDPOINT, and whether a page to log in to the network answers in its place",
        )
        commit = "c" * 40
        web.files["/api/models/org/tiny/revision/main"] = json.dumps({"id": "org/tiny", "sha": commit}).encode()
        rows = [{"type": "file", "path": f"{n}.gguf", "size": 5, "oid": "0" * 40} for n in range(9)]
        web.files[f"/api/models/org/tiny/tree/{commit}"] = json.dumps(rows).encode()
        monkeypatch.setattr(fetcher, "FILES", 3)
        advised(tiny.provision(code=1), "check HF_ENDPOINT; or download the model and point model_ref at the file")
        monkeypatch.undo()
    tiny.environ["HF_ENDPOINT"] = good
    tiny.provision()


def test_an_endpoint_is_written_with_its_scheme(tiny):
    url = tiny.environ["HF_ENDPOINT"]
    tiny.environ["HF_ENDPOINT"] = url.removeprefix("http://")
    assert advised(tiny.provision(code=3), "export HF_ENDPOINT=https://{}") == (url.removeprefix("http://"),)
    tiny.environ["HF_ENDPOINT"] = "not a host"
    advised(tiny.provision(code=3), "set it to https:// and the name of the Hub's host")
    tiny.environ["HF_ENDPOINT"] = url  # the Hub of this test is one of http:
    tiny.provision()


def test_a_token_in_typographic_quotes_is_copied_without_them(tiny):
    tiny.environ["HF_TOKEN"] = "“hf_good”"
    answer = tiny.provision(code=3)
    advised(answer, "copy the token again, without quotes around it: `hf auth login`, or set HF_TOKEN")
    assert "hf_good" not in answer.all
    assert b"hf_good" not in tiny.everything()
    tiny.environ["HF_TOKEN"] = "hf_good"
    tiny.provision()


def test_a_hub_that_is_busy_is_asked_later(tiny, hub, hurried):
    hub.fault(faults.busy(0), on=LISTING)
    advised(tiny.provision(code=1), "try again later")
    hub.heal()
    tiny.provision()


def test_a_repository_that_was_renamed_is_corrected(tiny, hub):
    tiny.doit("model-lock")
    tiny.empty_cache()
    hub.add("org/new", REPO)
    hub.fault(faults.no_repo(), on="/org/tiny/resolve/*")
    advised(
        tiny.provision(code=1),
        "if it was renamed, correct model_ref; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it",
    )
    tiny.models({"tiny": "hf:org/new/tiny.gguf"})
    tiny.provision()


def test_a_commit_that_is_gone_is_given_up_for_what_is_there(tiny, hub):
    tiny.doit("model-lock")
    tiny.empty_cache()
    hub.fault(faults.no_revision(), on=FILES, times=1)
    advised(tiny.provision(code=1), "`doit model-lock --upgrade NAME` takes what it has now")
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES + bytes(32)})
    tiny.doit("model-lock", "--upgrade", "tiny")
    assert "pass  tiny" in tiny.provision().out


def test_the_extra_is_installed_or_the_file_downloaded(tiny):
    folder = tiny.project.write("without/huggingface_hub/__init__.py", "raise ImportError").parent.parent
    tiny.environ["PYTHONPATH"] = str(folder)
    sentence = "{}; or download the model and name it as file:PATH, which needs nothing"
    assert advised(tiny.project.process("provision", code=1), sentence) == (with_extra("hf"),)
    tiny.project.write("models/x.gguf", TINY_BYTES)
    tiny.models({"tiny": "file:models/x.gguf"})
    tiny.project.process("provision")
    tiny.models({"tiny": ONE})
    del tiny.environ["PYTHONPATH"]  # as it is with the extra
    tiny.provision()


# ---- the bytes that come


def test_bytes_that_were_not_listed_are_asked_for_again(tiny, hub):
    hub.fault(faults.corrupt(5000), on="*", method="GET", times=None)
    sentence = "run again: nothing of them was kept; if they are wrong again, tell who runs the server"
    advised(tiny.provision(code=1), sentence)
    hub.heal()
    tiny.provision()


def test_other_bytes_of_a_source_are_asked_about_or_taken(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    entry = {"model_ref": web.url("/x.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}
    remote.models({"x": entry})
    web.files["/x.gguf"] = FLIPPED
    answer = remote.provision(code=1)
    advised(answer, "ask who runs the source; if what it has now is right, {}")
    follow(remote.project, "x", fix(answer))
    assert "pass  x" in remote.provision().out
    remote.empty_cache()
    remote.models({"x": entry})
    web.files["/x.gguf"] = TINY_BYTES  # who runs it put it right
    assert "pass  x" in remote.provision().out


def test_a_larger_file_than_was_locked_is_taken_as_it_is_told(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    remote.doit("model-lock")
    remote.empty_cache()
    web.files["/x.gguf"] = TINY_BYTES + bytes(32)
    answer = remote.provision(code=1)
    advised(answer, "if the new bytes are right, {}")
    follow(remote.project, "x", fix(answer))
    assert "pass  x" in remote.provision().out


def test_a_source_of_no_sound_model_is_asked_again(remote, web):
    web.files["/x.gguf"] = TINY_BYTES[:-100]
    remote.models({"x": web.url("/x.gguf")})
    advised(remote.provision(code=1), "{}; or run again, and its source is asked again")
    web.files["/x.gguf"] = TINY_BYTES
    remote.provision()


def test_of_a_locked_source_of_no_sound_model_the_new_one_is_taken(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    remote.doit("model-lock")
    lock = remote.lock.read_text()
    bad = TINY_BYTES[:-100]
    remote.lock.write_text(lock.replace(TINY_SHA, sha256(bad)).replace(str(len(TINY_BYTES)), str(len(bad))))
    web.files["/x.gguf"] = bad
    (_, _, name) = advised(
        remote.provision(code=1), "{}; if its source has {} one by now, `doit model-lock --upgrade {}` takes it"
    )
    web.files["/x.gguf"] = TINY_BYTES
    remote.doit("model-lock", "--upgrade", name)
    assert "pass  x" in remote.provision().out


def test_a_folder_of_a_repository_is_written_as_it_is_told(tiny):
    tiny.models({"tiny": {"model_ref": f"{tiny.environ['HF_ENDPOINT']}/org/tiny/tree/main/sub", "engine": "vllm"}})
    told = yaml.safe_load(fix(tiny.provision(code=3)).partition(":   ")[2])
    tiny.models({"tiny": {**told, "include": [*told["include"], "*.gguf"], "engine": "vllm"}})
    tiny.provision()
    assert sorted(tiny.bytes_of("tiny")) == ["sub/more.json", "tiny.gguf"]


# ---- the store


def test_a_blob_that_was_deleted_is_fetched_again(tiny):
    tiny.provision()
    os.unlink(os.path.realpath(tiny.path("tiny")))
    assert tiny.project.why("tiny") == ["a fetched file is gone from the store"]
    sentence = "run `doit provision`, which fetches what is missing where network.allow has its host"
    advised(tiny.doit("model-check", code=1), sentence)
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_blob_that_is_damaged_is_fetched_again(tiny):
    tiny.provision()
    path = os.path.realpath(tiny.path("tiny"))
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(5000)
        file.write(bytes([TINY_BYTES[5000] ^ 1]))
    sentence = "run `doit provision`, and it is fetched again; the damaged one is kept for a week as {}"
    (away,) = advised(tiny.provision("--full", code=1), sentence)
    assert os.path.exists(away)
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_tree_that_was_changed_is_made_again(tiny):
    tiny.models({"tiny": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    tiny.provision()
    tree = tiny.path("tiny")
    tree.chmod(0o755)
    (tree / "more").write_text("")
    answer = tiny.doit("model-verify", "tiny", code=1)
    advised(answer, "run `doit provision`, which makes the folder again")
    tiny.provision()
    tiny.doit("model-verify", "tiny")


def test_a_name_that_the_store_can_not_hold_is_left_out(tiny, hub):
    hub.add("org/odd", {**REPO, "a\\b": b"x"})
    tiny.models({"tiny": {"model_ref": "hf:org/odd", "engine": "vllm"}})
    sentence = "this is how its source names the file: get the model from another source, or leave that file out"
    advised(tiny.provision(code=1), sentence)
    tiny.models({"tiny": {"model_ref": "hf:org/odd", "engine": "vllm", "exclude": ["a*"]}})
    tiny.provision()


def test_a_store_that_is_something_else_is_another_folder(tiny, tmp_path):
    tiny.cache.mkdir(exist_ok=True)
    (tiny.cache / "thesis.tex").write_text("")
    sentence = "it was left as it is: name a new folder in cache_dir, or in MODEL_PROVISIONER_CACHE_DIR"
    advised(tiny.provision(code=None), sentence)
    tiny.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(tmp_path / "new")
    tiny.provision()


def test_what_does_not_fit_into_the_store_has_room_by_max_size(tiny, hub):
    tiny.models({"tiny": ONE}, cache={"max_size": 1000})
    sentence = (
        "raise cache.max_size in models.yaml, or let something go: what no handoff, lock, run or `keep: true` holds"
    )
    advised(tiny.provision(code=1), sentence)
    tiny.models({"tiny": ONE}, cache={"max_size": "150KB"})
    tiny.provision()
    hub.add("org/other", {"tiny.gguf": TINY_BYTES + bytes(32)})
    two = {"tiny": ONE, "other": "hf:org/other/tiny.gguf"}
    tiny.models(two, cache={"max_size": "150KB"})
    advised(tiny.provision(code=1), sentence)
    tiny.models({"other": "hf:org/other/tiny.gguf"}, cache={"max_size": "150KB"})  # which lets the first go
    tiny.provision()


@pytest.mark.parametrize(
    ("sentence", "mount", "code"),
    [
        ("free some space there, or point cache_dir to another disk", "mount -t tmpfs -o size=64k tmpfs {}", 1),
        (
            "the disk is read-only: set {} to a folder that you can write",
            "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
            2,
        ),
    ],
)
def test_a_disk_that_takes_nothing_is_another(tiny, tmp_path, sentence, mount, code):
    tiny.project.write("dodo.py", DODO)
    small = tiny.project.root / "small"
    small.mkdir()
    tiny.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(small)
    command = f"{mount.format(shlex.quote(str(small)))} && exec {sys.executable} -m doit provision"
    run = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
        cwd=tiny.root,
        env=tiny.project.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run
    advised(Answer(run.returncode, run.stdout, run.stderr), sentence)
    tiny.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(tmp_path / "another")
    tiny.provision()


def test_a_token_of_another_service_is_taken_out(tiny):
    tiny.environ.update(HF_OIDC_RESOURCE="hf://org/tiny", HF_TOKEN="hf_good")
    sentence = (
        "if HF_OIDC_RESOURCE is set, take it out of the environment; then set HF_TOKEN to a token, or `hf auth login`"
    )
    advised(tiny.provision(code=1), sentence)
    del tiny.environ["HF_OIDC_RESOURCE"]
    tiny.provision()
