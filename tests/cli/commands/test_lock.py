"""`doit model-lock`, and what `models.lock` then holds `doit provision` to."""

import json
import re
import shutil

import pytest

from tests.support.gguf_bytes import gguf, text
from tests.support.hub import no_repo
from tests.support.project import Project, read_only
from tests.support.remote import FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, resolved, sha256

OTHER = TINY_BYTES + bytes(32)


def lines(hub, revision=None):
    """Return the lock file of the one file of `org/tiny`, line by line."""
    return [
        "{",
        '  "version": 1,',
        '  "models": {',
        '    "tiny": {',
        '      "ref": "hf:org/tiny/tiny.gguf",',
        '      "kind": "file",',
        f'      "revision": "{revision or hub.references["org/tiny"]["main"]}",',
        '      "files": [',
        f'        {{"path": "tiny.gguf", "size": {len(TINY_BYTES)}, "sha256": "{TINY_SHA}"}}',
        "      ]",
        "    }",
        "  }",
        "}",
    ]


@pytest.fixture
def locked(tiny):
    tiny.provision()
    tiny.doit("model-lock")
    tiny.provision()
    return tiny


def test_the_lock_file_is_one_line_a_file(tiny, hub):
    tiny.provision()
    hub.forget()
    assert tiny.doit("model-lock").out == "models.lock written: 1 model\n"
    assert tiny.lock.read_text().splitlines() == lines(hub)
    assert hub.requests == [], "what was fetched is locked as it is"
    assert tiny.doit("model-lock").out == "models.lock is as it was: 1 model\n"
    assert tiny.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    assert tiny.json("model-lock")["result"] == {"drift": [], "written": False}


def test_what_is_not_here_is_fetched_for_it(tiny, hub):
    assert tiny.doit("model-lock").out == "models.lock written: 1 model\n"
    assert tiny.lock.read_text().splitlines() == lines(hub)
    assert resolved(hub) == ["tiny.gguf"]
    hub.forget()
    assert "pass  tiny" in tiny.provision("--offline").out
    assert hub.requests == []


ADAPTER = gguf({"general.architecture": text("llama"), "general.type": text("adapter"), "adapter.type": text("lora")})


@pytest.mark.parametrize("wrong", [b"<!DOCTYPE html><html>log in</html>", TINY_BYTES[:60_000], ADAPTER])
@pytest.mark.parametrize("upgrade", [[], ["--upgrade", "tiny"]])
def test_what_is_unsound_or_no_model_is_not_locked_and_asked_for_again(remote, web, wrong, upgrade):
    web.files["/tiny.gguf"] = wrong
    remote.models({"tiny": web.url("/tiny.gguf")})
    answer = remote.doit("model-lock", *upgrade, code=1)
    assert "or run again, and its source is asked again" in answer.all
    assert not remote.lock.exists()
    web.files["/tiny.gguf"] = TINY_BYTES
    assert remote.doit("model-lock", *upgrade).out == "models.lock written: 1 model\n"
    assert TINY_SHA in remote.lock.read_text()


def test_an_unsound_file_of_this_machine_is_not_locked(remote):
    (remote.root / "x.gguf").write_bytes(TINY_BYTES[:60_000])
    remote.models({"tiny": "file:x.gguf"})
    remote.doit("model-lock", code=1)
    assert not remote.lock.exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"model_ref": "a.gguf"},
            "FAIL  tiny  the model is an adapter\n        where     {root}/a.gguf\n        expected  a model\n"
            "        found     an adapter, made for architecture llama\n"
            "        fix       name it under lora: of the model that it was made for\n",
        ),
        (
            {"model_ref": "tiny.gguf", "mmproj": "a.gguf"},
            "FAIL  tiny  mmproj a.gguf is an adapter, not a projector\n        where     {root}/a.gguf\n"
            "        expected  a projector: a GGUF of architecture clip\n"
            "        found     an adapter, made for architecture llama\n"
            "        fix       name it under lora: of the model that it was made for\n",
        ),
    ],
)
def test_a_file_in_the_wrong_field_is_not_locked(remote, files, told):
    """`provision` says the same of it."""
    (remote.root / "tiny.gguf").write_bytes(TINY_BYTES)
    (remote.root / "a.gguf").write_bytes(ADAPTER)
    remote.models({"tiny": files})
    told = told.format(root=remote.root)
    assert remote.doit("model-lock", code=1).out.startswith(told)
    assert not remote.lock.exists()
    assert remote.provision(code=1).out.startswith(told)


def test_an_adapter_that_comes_to_a_locked_model_is_looked_at_beside_it(tiny, hub):
    tiny.doit("model-lock")
    before = tiny.lock.read_text()
    (tiny.root / "a.gguf").write_bytes(ADAPTER)
    tiny.models({"tiny": {"model_ref": ONE, "mmproj": "a.gguf"}})
    assert "mmproj a.gguf is an adapter, not a projector" in tiny.doit("model-lock", code=1).out
    assert tiny.lock.read_text() == before
    tiny.models({"tiny": {"model_ref": ONE, "lora": ["a.gguf"]}})  # the fix, tried
    tiny.doit("model-lock")
    assert '"role": "lora"' in tiny.lock.read_text()


def test_what_an_old_lock_names_unsound_is_healed_by_the_fix_that_is_said(tiny, hub):
    tiny.doit("model-lock")
    page = b"<!DOCTYPE html><html>log in</html>"
    commit = hub.add("org/tiny", {"tiny.gguf": page})
    locked = tiny.lock.read_text().replace(TINY_SHA, sha256(page)).replace(str(len(TINY_BYTES)), str(len(page)))
    tiny.lock.write_text(re.sub(r'"revision": "[0-9a-f]+"', f'"revision": "{commit}"', locked))
    hub.add("org/tiny", REPO)
    answer = tiny.provision(code=1)
    assert "if its source has a sound one by now, `doit model-lock --upgrade tiny` takes it" in answer.out
    tiny.doit("model-lock", "--upgrade", "tiny")
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_model_is_pinned_by_the_lock(locked, hub):
    """Without an expected digest of its own it has the lock's, and outlives what the branch becomes."""
    commit = hub.references["org/tiny"]["main"]
    hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    locked.empty_cache()
    hub.forget()
    assert "pass  tiny" in locked.provision("--locked").out
    assert locked.bytes_of("tiny") == TINY_BYTES
    assert locked.project.handoff("tiny")["metadata"]["verification"] == "pass"
    assert [request.path for request in hub.requests] == [f"/org/tiny/resolve/{commit}/tiny.gguf"]


def test_another_machine_gets_the_same(locked, hub, tmp_path):
    hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    other = Project(tmp_path / "clone", tmp_path / "its state", {**locked.environ})
    other.root.mkdir()
    for name in ("models.yaml", "models.lock"):
        shutil.copy(locked.root / name, other.root)
    other.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(tmp_path / "its cache")
    assert "pass  tiny" in other.provision("--locked").out
    assert other.handoff("tiny")["metadata"]["digest"]["value"] == TINY_SHA
    assert other.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"


def test_a_repository_that_is_gone_is_said_to_be(locked, hub):
    commit = hub.references["org/tiny"]["main"]
    del hub.repositories["org/tiny"]
    locked.empty_cache()
    answer = locked.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the Hub has no such repository any more, or shows it to others only\n"
        f"        where     {hub.url}/org/tiny/resolve/{commit}/tiny.gguf\n"
        "        expected  the file\n"
        "        found     401 Unauthorized\n"
        "        fix       if it was renamed, correct model_ref; for a private one, `hf auth login` or set HF_TOKEN to a "
        "token that may read it\n"
    ), answer


def test_a_commit_that_is_gone_is_said_to_be_and_what_is_there_can_be_taken(locked, hub):
    commit = hub.references["org/tiny"]["main"]
    del hub.repositories["org/tiny"][commit]
    hub.add("org/tiny", {"tiny.gguf": OTHER})
    locked.empty_cache()
    answer = locked.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the repository does not have the commit any more that was locked or first fetched\n"
        f"        where     {hub.url}/org/tiny/resolve/{commit}/tiny.gguf\n"
        "        expected  the file\n"
        "        found     404 Not Found\n"
        "        fix       `doit model-lock --upgrade NAME` takes what it has now\n"
    ), answer
    locked.doit("model-lock", "--upgrade", "tiny")
    locked.provision("--locked")
    assert locked.bytes_of("tiny") == OTHER


def test_bytes_that_are_not_the_locked_are_refused(locked, hub):
    commit = hub.references["org/tiny"]["main"]
    hub.add("org/tiny", {**REPO, "tiny.gguf": FLIPPED}, commit=commit)  # a Hub that rewrites history
    locked.empty_cache()
    answer = locked.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the digest differs from what is expected\n"
        "        where     hf:org/tiny/tiny.gguf\n"
        f"        expected  sha256:{TINY_SHA}\n"
    )
    assert locked.project.handoff("tiny") is None
    assert locked.blobs() == set()
    assert locked.on_the_way() == []


def test_upgrade_takes_what_is_there_now(locked, hub):
    new = hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    assert locked.provision().out.startswith("1 model: 1 current")
    answer = locked.doit("model-lock", "--upgrade", "tiny")
    assert answer.out == "models.lock written: 1 model\n"
    assert f'"revision": "{new}"' in locked.lock.read_text()
    assert f'"size": {len(OTHER)}' in locked.lock.read_text()
    assert "pass  tiny" in locked.provision().out
    assert locked.bytes_of("tiny") == OTHER


def test_upgrade_of_one_leaves_the_other(remote, hub):
    hub.add("org/tiny", REPO)
    hub.add("org/other", {"other.gguf": TINY_BYTES})
    remote.models({"tiny": ONE, "other": "hf:org/other/other.gguf"})
    remote.doit("model-lock")
    before = json.loads(remote.lock.read_text())["models"]
    hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    hub.add("org/other", {"other.gguf": OTHER})
    remote.doit("model-lock", "--upgrade", "tiny")
    after = json.loads(remote.lock.read_text())["models"]
    assert after["other"] == before["other"]
    assert after["tiny"] != before["tiny"]


def test_what_a_killed_command_left_is_removed_by_the_next_that_has_nothing_to_write(locked):
    left = locked.root / ".models.lock.tmp"
    left.write_text("{")
    assert locked.doit("model-lock").out == "models.lock is as it was: 1 model\n"
    assert not left.exists()


def test_an_upgrade_of_what_is_not_there(locked):
    before = locked.lock.read_bytes()
    answer = locked.doit("model-lock", "--upgrade", "tinny", code=3)
    assert answer.err.startswith("ERROR: there is no model 'tinny'\n")
    assert "fix       did you mean tiny?\n" in answer.err
    assert locked.lock.read_bytes() == before


@pytest.mark.parametrize("how", [["--upgrade", "tiny"], []])
def test_what_fails_leaves_the_lock_and_the_models(locked, hub, how):
    before = locked.lock.read_bytes()
    if not how:
        locked.models({"tiny": ONE, "new": "hf:org/none/x.gguf"})
    hub.fault(no_repo(), on="/api/*")
    answer = locked.doit("model-lock", *how, code=1)
    name = "tiny" if how else "new"
    assert answer.out.startswith(f"FAIL  {name}  the Hub has no such repository, or shows it to others only\n")
    assert locked.lock.read_bytes() == before
    hub.forget()
    assert "1 current" in locked.provision("tiny", "--offline").out
    assert hub.requests == []


def test_one_that_can_not_be_locked_stops_no_other(remote, hub):
    hub.add("org/tiny", REPO)
    remote.models({"a": "file:nowhere.gguf", "tiny": ONE, "z": "hf:org/tiny/none.gguf"})
    answer = remote.doit("model-lock", code=1)
    assert answer.out.startswith("FAIL  a  ")
    assert "\nFAIL  z  the repository has no file none.gguf\n        where     hf:org/tiny\n" in answer.out
    assert answer.out.endswith("models.lock written: 1 model, 2 failed\n")
    assert list(json.loads(remote.lock.read_text())["models"]) == ["tiny"]
    first, second = remote.json("model-lock", code=1)["errors"]
    assert (first["model"], first["code"]) == ("a", "ModelNotFoundError")
    assert (second["model"], second["what"]) == ("z", "the repository has no file none.gguf")


def test_one_that_can_not_be_locked_anew_keeps_its_lock(remote, hub):
    hub.add("org/tiny", REPO)
    hub.add("org/other", {"other.gguf": TINY_BYTES})
    remote.models({"tiny": ONE, "other": "hf:org/other/other.gguf"})
    remote.doit("model-lock")
    before = json.loads(remote.lock.read_text())["models"]
    hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    hub.fault(no_repo(), on="/api/models/org/other/*")
    answer = remote.doit("model-lock", "--upgrade", "tiny", "--upgrade", "other", code=1)
    assert answer.out.endswith("models.lock written: 1 model, 1 failed\n")
    after = json.loads(remote.lock.read_text())["models"]
    assert after["other"] == before["other"]
    assert after["tiny"]["files"] != before["tiny"]["files"]


def test_a_lock_of_a_file_at_home_holds_for_another_home(project, tmp_path):
    """And one as it was written before: with what `~` was then."""
    homes = [tmp_path / "me", tmp_path / "you"]
    for home in homes:
        (home / "models").mkdir(parents=True)
        (home / "models" / "x.gguf").write_bytes(TINY_BYTES)
    project.models("models: {tiny: {model_ref: '~/models/x.gguf'}}\n")
    lock = project.root / "models.lock"
    project.environ["HOME"] = str(homes[0])
    project.doit("model-lock")
    assert '"ref": "file:~/models/x.gguf"' in lock.read_text()
    written = lock.read_bytes()
    for home in homes:
        project.environ["HOME"] = str(home)
        assert "pass  tiny" in project.provision("--locked").out
        assert project.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    (homes[1] / "models" / "x.gguf").write_bytes(OTHER)
    project.provision("--locked", code=1)
    project.environ["HOME"] = str(homes[0])
    lock.write_bytes(written.replace(b"file:~", f"file:{homes[0]}".encode()))
    project.provision("--locked")
    assert project.doit("model-lock").out == "models.lock written: 1 model\n"
    assert lock.read_bytes() == written


def test_a_lock_of_a_file_beside_the_project_is_as_it_is_written(project):
    (project.root.parent / "shared").mkdir()
    (project.root.parent / "shared" / "x.gguf").write_bytes(TINY_BYTES)
    (project.root / "linked").symlink_to("../shared")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\nmodels: {a: {model_ref: ../shared/x.gguf}, b: {model_ref: ./linked//x.gguf}}\n"
    )
    project.doit("model-lock")
    refs = {
        name: each["ref"] for name, each in json.loads((project.root / "models.lock").read_text())["models"].items()
    }
    assert refs == {"a": "file:../shared/x.gguf", "b": "file:linked/x.gguf"}
    for _ in range(2):  # from models.yaml, and from what is kept of it
        project.provision("--locked")


def test_an_upgrade_to_what_is_not_expected(tiny, hub):
    """What models.yaml says itself is not locked away."""
    tiny.models({"tiny": {"model_ref": ONE, "expected_digest": f"sha256:{TINY_SHA}"}})
    tiny.doit("model-lock")
    before = tiny.lock.read_bytes()
    hub.add("org/tiny", {**REPO, "tiny.gguf": OTHER})
    answer = tiny.doit("model-lock", "--upgrade", "tiny", code=1)
    assert "FAIL  tiny  the digest differs from what is expected\n" in answer.out
    assert f"  expected  sha256:{TINY_SHA}\n" in answer.out
    assert tiny.lock.read_bytes() == before


def test_an_upgrade_to_what_is_the_same_notes_the_new_commit(locked, hub):
    new = hub.add("org/tiny", {**REPO, "README.md": b"# changed\n"})
    hub.forget()
    locked.doit("model-lock", "--upgrade", "tiny")
    assert locked.lock.read_text().splitlines() == lines(hub, new)
    assert resolved(hub) == []
    assert "1 done" in locked.provision().out or "1 current" in locked.provision().out


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_locked_run_takes_nothing_that_is_not_locked(remote, hub, by):
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE, "other": "hf:org/tiny/sub/more.json"})
    remote.environ.update({"MODEL_PROVISIONER_LOCKED": "1"} if by == "environment" else {})
    answer = remote.provision(*(["--locked"] if by == "option" else []), code=1)
    for name in ("tiny", "other"):
        line = next(
            n for n, text in enumerate((remote.root / "models.yaml").read_text().splitlines(), 1) if f'"{name}"' in text
        )
        assert (
            f"FAIL  {name}  {name} is not in the lock file as models.yaml has it, and this run takes no other model\n".replace(
                "  ", ""
            )
            in answer.out.replace("  ", "")
        )
        assert (
            f"        where     {remote.root}/models.yaml:{line}\n"
            "        expected  an entry in models.lock of the same reference\n"
            "        found     none, or one of another reference\n"
            "        fix       run `doit model-lock` where you may, and commit models.lock\n"
        ) in answer.out
    assert hub.requests == []


def test_a_locked_run_refuses_local_models_and_withdraws_what_was_handed_off(project):
    project.add_tiny("x.gguf")
    project.models("models: {tiny: {model_ref: 'file:x.gguf'}}\n")
    project.provision()
    project.provision("--locked", code=1)
    assert project.handoff() is None
    project.doit("model-lock")
    assert '"ref": "file:x.gguf"' in (project.root / "models.lock").read_text()
    assert "pass  tiny" in project.provision("--locked").out


def test_another_reference_is_not_held_by_the_lock(locked, hub):
    hub.references["org/tiny"]["v1"] = hub.references["org/tiny"]["main"]
    locked.models({"tiny": "hf:org/tiny@v1/tiny.gguf"})
    assert "warn  tiny" in locked.provision().out
    locked.provision("--locked", code=1)
    answer = locked.doit("model-lock", "--check", code=1)
    assert answer.out == "tiny is locked by another reference than models.yaml has\n"


# ---- drift


def test_drift_is_told_line_by_line(locked, hub):
    locked.models({"other": ONE})
    answer = locked.doit("model-lock", "--check", code=1)
    assert answer.out == "other is not in the lock file\ntiny is in the lock file and not in models.yaml\n"
    found = locked.json("model-lock", "--check", code=1)
    assert found["result"] == {"drift": answer.out.splitlines(), "written": False}
    locked.doit("model-lock")
    assert list(json.loads(locked.lock.read_text())["models"]) == ["other"]


def test_drift_of_a_local_file(project):
    path = project.add_tiny("x.gguf")
    project.models("models: {tiny: {model_ref: 'file:x.gguf'}}\n")
    project.doit("model-lock")
    path.write_bytes(OTHER)
    answer = project.doit("model-lock", "--check", code=1)
    assert answer.out.startswith("tiny: x.gguf has sha256:")
    assert answer.out.endswith(f", locked is sha256:{TINY_SHA}\n")
    assert "FAIL  tiny  the digest differs from what is expected" in project.provision(code=1).out
    path.unlink()
    answer = project.doit("model-lock", "--check", code=1)
    assert answer.out.startswith("tiny can't be compared: ")


def test_drift_of_a_folder(project):
    project.write("m/config.json", '{"model_type": "llama"}')
    project.write("m/a.txt", "a")
    project.write("m/weights.bin", "w")
    project.models("models: {tiny: {model_ref: 'file:m', engine: vllm}}\n")
    project.doit("model-lock")
    (project.root / "m/a.txt").unlink()
    project.write("m/b.txt", "b")
    answer = project.doit("model-lock", "--check", code=1)
    assert answer.out == "tiny: b.txt is not locked\ntiny: a.txt is locked and not here\n"


def test_without_a_lock_file(tiny, hub):
    answer = tiny.doit("model-lock", "--check", code=1)
    assert answer.out == "there is no lock file: `doit model-lock` writes it\n"
    assert hub.requests == []


def test_what_is_not_here_is_no_drift_and_is_not_fetched(locked, hub):
    locked.empty_cache()
    hub.forget()
    assert locked.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    assert hub.requests == []


def test_damaged_bytes_are_not_locked(tiny):
    tiny.provision()
    blob = tiny.path("tiny").resolve()
    blob.chmod(0o644)
    blob.write_bytes(FLIPPED)
    answer = tiny.doit("model-lock", code=1)
    assert answer.out.startswith("FAIL  tiny  a fetched file is damaged: it holds other bytes than it came with\n")
    assert not tiny.lock.exists()
    tiny.doit("model-lock")
    assert TINY_SHA in tiny.lock.read_text()


# ---- bad input


def test_an_expected_digest_that_the_lock_contradicts(locked):
    locked.models({"tiny": {"model_ref": ONE, "expected_digest": "sha256:" + "0" * 64}})
    for command in (["provision"], ["model-lock", "--check"]):
        answer = locked.doit(*command, code=3)
        assert "the expected digest of tiny is not the one in the lock file\n" in answer.err
        assert (
            f"  expected  sha256:{TINY_SHA}\n"
            f"  found     sha256:{'0' * 64}\n"
            "  fix       if models.yaml is right, run `doit model-lock --upgrade tiny`; if the lock file is, take "
            "expected_digest out of models.yaml\n"
        ) in answer.err


def test_a_lock_file_that_is_damaged_is_bad_input(locked):
    locked.lock.write_text('<<<<<<< ours\n{"version": 1}\n')
    for command in ("provision", "model-lock", "model-why"):
        answer = locked.doit(command, code=3)
        assert "the lock file holds an unresolved merge\n" in answer.err
        assert f"  where     {locked.lock}:1\n" in answer.err
    locked.lock.unlink()
    locked.lock.mkdir()
    assert "the lock file can't be read\n" in locked.provision(code=3).err


def test_a_lock_file_that_changes_while_a_model_is_verified_is_asked_again(locked):
    """What the lock says is policy: the run that began under another one hands nothing off."""
    assert locked.provision().out.startswith("1 model: 1 current")
    locked.lock.write_text(locked.lock.read_text().replace(TINY_SHA, "0" * 64))
    answer = locked.provision(code=1)
    assert "FAIL  tiny  " in answer.out
    assert locked.project.handoff("tiny") is None


def test_a_read_only_project_is_told(project):
    project.add_tiny("x.gguf")
    project.models("models: {tiny: {model_ref: 'file:x.gguf'}}\n")
    code, out = project.mounted(read_only(project.root), "model-lock")
    assert code == 2
    assert "a file could not be written\n" in out
    assert f"  where     {project.root}/models.lock\n" in out


def test_names_and_unknown_options_are_refused(locked):
    assert locked.doit("model-lock", "tiny", code=3).err.startswith("ERROR: ")
    assert locked.doit("model-lock", "--nonsense", code=3).err.startswith("ERROR: ")
