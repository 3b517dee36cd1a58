"""`verify --store`: blobs are read, the longest unread first; who relied on a damaged one is told and fetches it again."""

import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from model_provisioner import ensure_present
from model_provisioner.store.store import Store
from tests.support.project import Project, document, read_only, settle
from tests.support.remote import ONE, REPO, TINY_BYTES, TINY_SHA, Remote, resolved, sha256, wait_until

EXPECTED = {"expected_digest": f"sha256:{TINY_SHA}"}


@pytest.fixture
def here(tiny):
    """A project with one fetched model."""
    tiny.provision()
    settle()
    return tiny


@pytest.fixture
def another(remote, tmp_path):
    """Makes more projects of the same user, with the same store."""

    def make(name, entries, **environ):
        root = tmp_path / name
        root.mkdir()
        project = Project(root, remote.project.state, {**remote.environ, **environ})
        made = Remote(project, remote.cache, remote.home)
        made.models(entries)
        made.provision()
        return made

    return make


def blob_of(remote, sha=TINY_SHA):
    return remote.cache / "blobs" / "sha256" / sha[:2] / sha


def rot(remote, sha=TINY_SHA):
    """Flip a bit of a blob as a disk does: no time moves by it. Return the SHA-256 that its bytes have now."""
    path = blob_of(remote, sha)
    before = os.stat(path)
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with closing(sqlite3.connect(remote.project.state / "memo.db")) as connection, connection:
        connection.execute(
            "UPDATE file SET ctime_ns = ? WHERE inode = ?", (str(os.stat(path).st_ctime_ns), str(before.st_ino))
        )
    return sha256(path.read_bytes())


def audit(remote, *args, code=0):
    """Audit the store; return what the document tells of it."""
    return remote.json("model-verify", "--store", *args, code=code)["result"]


def record_of(remote):
    (path,) = (remote.project.state / "audits").glob("*.db")
    return path


def times(remote):
    """Return when each blob was audited, in nanoseconds since 1970."""
    with closing(sqlite3.connect(record_of(remote))) as connection:
        return {sha.hex(): at for sha, at in connection.execute("SELECT sha256, audited_at FROM blob")}


def set_time(remote, sha, seconds):
    with closing(sqlite3.connect(record_of(remote))) as connection, connection:
        connection.execute("UPDATE blob SET audited_at = ? WHERE sha256 = ?", (int(seconds * 1e9), bytes.fromhex(sha)))


def states(remote):
    return {name: row["state"] for name, row in remote.project.rows().items()}


def store_of(path, *blobs):
    """A store of these blobs, which nobody uses; return their SHA-256s in that order."""
    store = Store(str(path))
    store.folder("blobs/sha256")
    names = [sha256(blob) for blob in blobs]
    for name, blob in zip(names, blobs, strict=True):
        place = path / "blobs" / "sha256" / name[:2]
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(blob)
    return names


# ---- a store that is whole


def test_a_whole_store_is_told_in_one_line_and_nothing_is_withdrawn(here):
    handoff = here.project.handoff("tiny")
    answer = here.doit("model-verify", "--store")
    assert re.fullmatch(
        r"1 blob: 1 whole; 105\.2 KB read \(\d+\.\d\d s\); the oldest audit is of 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n",
        answer.out,
    )
    assert answer.err == ""
    assert here.project.handoff("tiny") == handoff
    assert "1 model: 1 current" in here.provision().out
    assert here.doit("model-verify", "--store", "--quiet").all == ""


def test_the_document_tells_of_a_whole_store(here):
    found = here.json("model-verify", "--store")
    last = found["result"].pop("oldest_audit")
    assert found["models"] == found["errors"] == []
    assert found["result"] == {
        "store": str(here.cache),
        "blobs": 1,
        "size_bytes": len(TINY_BYTES),
        "whole": 1,
        "damaged_blobs": 0,
        "unreadable": 0,
        "gone": 0,
        "read_bytes": len(TINY_BYTES),
        "left": 0,
        "left_bytes": 0,
        "recent": 0,
        "clock_went_back": 0,
        "not_blobs": [],
        "damaged": [],
    }
    assert last.endswith("Z")


def test_a_blob_that_no_model_has_any_more_is_audited_too(here, hub):
    here.models({})
    here.provision()
    rot(here)
    found = audit(here, code=1)
    (damaged,) = found["damaged"]
    assert (damaged["sha256"], damaged["entries"]) == (TINY_SHA, [])
    assert not blob_of(here).exists()


def test_full_says_what_is_done_anyway(here):
    assert audit(here, "--full")["whole"] == 1


def test_a_project_without_fetched_models_has_no_store_to_audit(project, tmp_path):
    project.models(f"models: {{}}\ncache_dir: {tmp_path}/none\n")
    answer = project.doit("model-verify", "--store")
    assert answer.out == f"there is no blob in the store at {tmp_path}/none: nothing to audit\n"
    assert not (tmp_path / "none").exists()


def test_outside_of_a_project_the_user_s_store_is_audited(project, tmp_path):
    store_of(tmp_path / "cache", b"x")
    project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(tmp_path / "cache")
    assert project.program("verify", "--store").out.startswith("1 blob: 1 whole; 1 bytes read")


def test_a_folder_that_is_no_store_is_refused(project, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(tmp_path / "photos")
    answer = project.program("verify", "--store", code=2)
    assert answer.err == (
        "ERROR: the folder for fetched files holds something else\n"
        f"  where     {tmp_path}/photos\n"
        "  expected  a new or empty folder, or one with the CACHEDIR.TAG of model-provisioner\n"
        "  found     'cat.jpg' and no CACHEDIR.TAG of ours\n"
        "  fix       it was left as it is: name a new folder in cache_dir, or in MODEL_PROVISIONER_CACHE_DIR\n"
    )


def test_names_are_refused(here):
    answer = here.project.program("verify", "tiny", "--store", code=3)
    assert answer.err == (
        "ERROR: --store audits all blobs of the store, and no models\n"
        "  where     the command line\n"
        "  expected  no names with --store\n"
        "  found     tiny\n"
        "  fix       leave the names out; or `model-provisioner verify --full tiny` reads the files of these models\n"
    )


def test_what_is_no_blob_is_named_and_left_as_it_is(here):
    shelf = blob_of(here).parent
    wrong = shelf.parent / "00" / sha256(b"another shelf's")
    wrong.parent.mkdir()
    wrong.write_bytes(b"x")
    (shelf / "notes.txt").write_bytes(b"x")
    secret = here.root.parent / "secret"
    secret.write_bytes(b"x")
    link = shelf / (TINY_SHA[:2] + "0" * 62)
    link.symlink_to(secret)
    (shelf.parent / "readme").write_bytes(b"x")
    answer = here.doit("model-verify", "--store")
    places = [
        f"blobs/sha256/{name}"
        for name in ("readme", f"00/{wrong.name}", f"{TINY_SHA[:2]}/{link.name}", f"{TINY_SHA[:2]}/notes.txt")
    ]
    assert answer.err == f"note: no blob, and left as it is: {', '.join(places)}\n"
    assert answer.out.startswith("1 blob: 1 whole;")
    assert (audit(here)["not_blobs"], link.is_symlink(), wrong.exists()) == (places, True, True)


# ---- a blob that differs


@pytest.mark.slow
def test_a_flipped_bit_is_found_and_all_that_relied_on_it_is_told_and_fetched_again(
    remote, hub, web, another, tiny_models
):
    lora = (tiny_models / "tiny-llama-lora.gguf").read_bytes()
    web.files |= {"/tiny.gguf": TINY_BYTES, "/style.gguf": lora, "/other.gguf": TINY_BYTES + bytes(32)}
    hub.add("org/tiny", REPO)
    remote.models(
        {
            "alone": {"model_ref": web.url("/tiny.gguf"), **EXPECTED},
            "other": web.url("/other.gguf"),
            "styled": {"model_ref": web.url("/other.gguf"), "lora": [web.url("/style.gguf")]},
        }
    )
    remote.provision()
    folder = another("b", {"folder": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    styled = another("c", {"styled": {"model_ref": web.url("/other.gguf"), "lora": [web.url("/style.gguf")]}})
    settle()
    bad = {sha: rot(remote, sha) for sha in (TINY_SHA, sha256(lora))}
    web.asked.clear()
    assert "1 model: 1 current" in folder.provision().out  # no stat call tells of it

    answer = styled.doit("model-verify", "--store", code=1)

    away = {each.name.partition(".")[0]: each for each in (remote.cache / "quarantine").iterdir()}
    assert away.keys() == bad.keys()
    for sha, entries in (
        (
            TINY_SHA,
            f"      failed: alone of {remote.root}/models.yaml (its handoff was withdrawn)\n"
            f"      failed: folder of {folder.root}/models.yaml (its handoff was withdrawn)\n",
        ),
        (
            sha256(lora),
            f"      failed: styled of {remote.root}/models.yaml (its handoff was withdrawn)\n"
            f"      failed: styled of {styled.root}/models.yaml (its handoff was withdrawn)\n",
        ),
    ):
        assert (
            f"FAIL  blob {sha[:12]}  a fetched file is damaged: it holds other bytes than it came with\n"
            f"        where     {blob_of(remote, sha)}\n"
            f"        expected  sha256:{sha}\n"
            f"        found     sha256:{bad[sha]}\n"
            "        fix       run `doit provision`, and it is fetched again; the damaged one is "
            f"kept for a week as {away[sha]}\n{entries}"
        ) in answer.out
    assert re.search(r"^6 blobs: 4 whole, 2 damaged; ", answer.out, re.M)
    assert states(remote) == {"alone": "Failed", "other": "Active", "styled": "Failed"}
    assert (states(folder), states(styled)) == ({"folder": "Failed"}, {"styled": "Failed"})
    reason = remote.project.rows()["alone"]["reason"]
    assert reason.startswith("a fetched file is damaged: it holds other bytes than it came with\n")
    assert "fix       run `doit provision`, and it is fetched again" in reason
    handoffs = [
        project.project.handoff(name) for project, name in ((remote, "alone"), (folder, "folder"), (styled, "styled"))
    ]
    assert handoffs == [None] * 3
    assert remote.project.handoff("other") is not None
    assert {path.name for path in remote.root.glob(".runtime/digests/*")} == {"other.sha256"}
    assert not list(folder.root.glob(".runtime/digests/*"))

    hub.requests.clear()
    for project in (folder, styled, remote):
        project.provision()
        assert set(states(project).values()) == {"Active"}
    assert folder.bytes_of("folder") == REPO
    assert remote.bytes_of("alone") == TINY_BYTES
    assert [asked.path for asked in web.asked if asked.method == "GET"] == ["/style.gguf"]
    assert resolved(hub) == ["tiny.gguf"]
    assert audit(remote)["whole"] == 6


def test_the_document_tells_of_a_damaged_blob(here):
    bad = rot(here)
    found = here.json("model-verify", "--store", code=1)
    assert found["result"]["damaged"] == [
        {
            "sha256": TINY_SHA,
            "size_bytes": len(TINY_BYTES),
            "found": bad,
            "entries": [
                {
                    "name": "tiny",
                    "project": str(here.root),
                    "config": str(here.root / "models.yaml"),
                    "withdrawn": True,
                }
            ],
            "elsewhere": [],
        }
    ]
    assert [(each["name"], each["state"], each["outcome"], each["handoff"]) for each in found["models"]] == [
        ("tiny", "Failed", "fail", None)
    ]
    assert [(each["code"], each["found"]) for each in found["errors"]] == [("DamagedError", f"sha256:{bad}")]
    assert found["result"]["blobs"] == 0


def test_a_damaged_blob_is_told_in_quiet_too(here):
    rot(here)
    assert here.doit("model-verify", "--store", "--quiet", code=1).out.startswith("FAIL  blob a28bb84f488a  ")


def test_once_it_is_put_away_the_store_is_whole_again(here):
    rot(here)
    audit(here, code=1)
    assert audit(here) == audit(here)
    here.provision()
    assert (audit(here)["whole"], here.bytes_of("tiny")) == (1, TINY_BYTES)


def test_a_local_link_to_a_blob_counts_as_its_use(here, another):
    link = here.root.parent / "linked.gguf"
    link.symlink_to(blob_of(here))
    local = another("local", {"mine": str(link)})
    rot(here)
    (damaged,) = audit(here, code=1)["damaged"]
    assert [entry["name"] for entry in damaged["entries"]] == ["tiny", "mine"]
    assert local.project.handoff("mine") is None


def test_an_entry_that_takes_any_bytes_has_a_damaged_blob_withdrawn_too(tiny):
    tiny.models({"tiny": {"model_ref": ONE, **EXPECTED, "strict_verification": False}})
    tiny.provision()
    rot(tiny)
    os.utime(blob_of(tiny))  # that is no silent change, and tolerated
    tiny.provision(code=None)
    assert tiny.project.rows()["tiny"]["outcome"] == "fail"
    assert tiny.project.handoff("tiny") is not None
    (damaged,) = audit(tiny, code=1)["damaged"]
    assert [(entry["name"], entry["withdrawn"]) for entry in damaged["entries"]] == [("tiny", True)]
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_the_model_of_a_program_fails_too(here, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(here.project.state))
    ensure_present(str(blob_of(here)))
    before = set(here.project.state.iterdir())
    rot(here)
    found = here.json("model-verify", "--store", code=1)
    entries = [(entry["name"], entry["project"]) for entry in found["result"]["damaged"][0]["entries"]]
    assert entries[1:] == [("tiny", str(here.root))]
    assert entries[0][1] is None
    assert {model["state"] for model in found["models"]} == {"Failed"}
    assert {path.name for path in set(here.project.state.iterdir()) - before} == {"audits"}


def test_the_same_bytes_elsewhere_are_none_of_the_store_s(here, another, tmp_path):
    (tmp_path / "own.gguf").write_bytes(TINY_BYTES)
    local = another("local", {"mine": str(tmp_path / "own.gguf")})
    rot(here)
    audit(here, code=1)
    assert local.project.handoff("mine") is not None
    assert states(local) == {"mine": "Active"}


def test_a_retired_entry_stays_retired(here):
    here.doit("model-retire", "tiny")
    rot(here)
    assert "failed: tiny of" in (answer := here.doit("model-verify", "--store", code=1)).out
    assert "(it is retired, and stays so)" in answer.out
    assert states(here) == {"tiny": "Retired"}


def test_the_handoff_of_a_project_that_can_t_be_read_is_withdrawn_too(here, another):
    broken = another("broken", {"b": ONE})
    (broken.root / "models.yaml").write_text("models: [")
    rot(here)
    audit(here, code=1)
    assert broken.project.handoff("b") is None
    assert not list(broken.root.glob(".runtime/digests/*"))


def test_a_project_that_is_gone_is_no_trouble(here, another):
    gone = another("gone", {"b": ONE})
    shutil.rmtree(gone.root)
    rot(here)
    (damaged,) = audit(here, code=1)["damaged"]
    assert [(entry["name"], entry["withdrawn"]) for entry in damaged["entries"]] == [("tiny", True), ("b", False)]


def test_a_handoff_lies_where_it_was_written_whatever_the_environment_of_the_audit(here, another, tmp_path):
    served = another("served", {"b": ONE}, MODEL_PROVISIONER_RUNTIME_DIR=str(tmp_path / "run"))
    handoff = tmp_path / "run/engines/b.json"
    assert handoff.exists()
    rot(here)
    audit(here, code=1)
    assert not handoff.exists()
    assert not (tmp_path / "run/digests/b.sha256").exists()
    served.provision()
    assert handoff.exists()


def test_what_stands_in_the_place_of_a_handoff_and_is_none_is_left(here, another):
    other = another("other", {"b": ONE})
    place = other.root / ".runtime/engines/b.json"
    place.write_text("my notes")
    rot(here)
    audit(here, code=1)
    assert place.read_text() == "my notes"
    assert states(other) == {"b": "Failed"}


@pytest.mark.slow
def test_a_handoff_that_can_t_be_removed_is_told_and_the_blob_put_away_all_the_same(here):
    rot(here)
    code, out = here.project.mounted(read_only(here.root / ".runtime"), "model-verify", "--store")
    assert code == 2
    assert f"      failed: tiny of {here.root}/models.yaml\n" in out
    assert "      a file could not be removed\n" in out
    assert f"{here.root}/.runtime/engines/tiny.json" in out
    assert not blob_of(here).exists()


@pytest.mark.slow
def test_in_a_store_that_can_t_be_written_the_blob_stays_and_nobody_gets_it(here):
    rot(here)
    code, out = here.project.mounted(read_only(here.cache), "model-verify", "--store")
    assert code == 1
    remedy = f"remove {blob_of(here)}, which could not be moved away (Read-only file system), and run again"
    assert f"        fix       {remedy}\n" in out
    assert blob_of(here).exists()
    code, out = here.project.mounted(read_only(here.cache), "provision")  # by no stat call alone is it right again
    assert code == 1
    assert "a fetched file is damaged" in out
    assert here.project.handoff("tiny") is None
    (damaged,) = audit(here, code=1)["damaged"]  # it is as long unread as it was
    assert damaged["sha256"] == TINY_SHA


def test_a_kill_before_it_is_put_away_leaves_it_to_the_next_audit_and_to_no_engine(here, monkeypatch):
    rot(here)

    def killed(store, sha256):
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr("model_provisioner.store.blobs.Blobs.put_away", killed)
        here.doit("model-verify", "--store", code=None)
    assert here.project.handoff("tiny") is None
    assert blob_of(here).exists()
    assert "a fetched file is damaged" in here.provision(code=1).out  # the memo does not believe it by its times
    here.provision()
    assert here.bytes_of("tiny") == TINY_BYTES


def test_a_catalog_that_can_t_be_read_is_told_and_the_blob_put_away_all_the_same(here):
    rot(here)
    (here.project.state / "catalog.db").write_bytes(b"no database at all" * 100)
    for suffix in ("-wal", "-shm"):
        (here.project.state / f"catalog.db{suffix}").unlink(missing_ok=True)
    answer = here.doit("model-verify", "--store", code=2)
    assert "the catalog is damaged or not a database" in answer.out
    assert not blob_of(here).exists()


def test_projects_of_others_are_named(here):
    (use,) = (here.cache / "uses").iterdir()
    body = json.loads(use.read_bytes())
    body |= {"owner": "hostb /home/b/state 1 2", "config": "/srv/b/models.yaml"}
    (use.parent / f"{'0' * 64}.json").write_text(json.dumps(body))
    rot(here)
    answer = here.doit("model-verify", "--store", code=1)
    assert "      also of /srv/b/models.yaml on hostb: the next run there fetches it again\n" in answer.out


# ---- the order, and where the next audit begins


@pytest.fixture
def shelf(project, tmp_path):
    """A store of four blobs of 1000 bytes, sorted by their SHA-256, which the project names."""
    names = store_of(tmp_path / "cache", *(bytes([number]) * 1000 for number in range(4)))
    project.models(f"models: {{}}\ncache_dir: {tmp_path}/cache\n")
    remote = Remote(project, tmp_path / "cache", tmp_path)
    return remote, sorted(names)


def test_the_longest_unread_is_audited_first_and_the_next_audit_goes_on_there(shelf):
    remote, names = shelf
    assert audit(remote, "--max-bytes", "2000") | {"oldest_audit": None} == {
        "store": str(remote.cache),
        "blobs": 4,
        "size_bytes": 4000,
        "whole": 2,
        "damaged_blobs": 0,
        "unreadable": 0,
        "gone": 0,
        "read_bytes": 2000,
        "left": 2,
        "left_bytes": 2000,
        "recent": 0,
        "oldest_audit": None,
        "clock_went_back": 0,
        "not_blobs": [],
        "damaged": [],
    }
    assert {sha for sha, at in times(remote).items() if at} == set(names[:2])
    answer = remote.doit("model-verify", "--store", "--max-bytes", "2999")
    assert answer.out.startswith("4 blobs: 2 whole, 2 left for the next audit (2.0 KB); 2.0 KB read (")
    assert all(times(remote).values())
    set_time(remote, names[2], 1000)
    before = times(remote)
    audit(remote, "--max-bytes", "1000")
    after = times(remote)
    assert [name for name in names if before[name] != after[name]] == [names[2]]


def test_the_first_is_audited_whatever_its_size(shelf):
    remote, _ = shelf
    assert audit(remote, "--max-bytes", "1")["whole"] == 1


def test_what_was_audited_not_long_ago_is_left_out(shelf):
    remote, names = shelf
    audit(remote)
    set_time(remote, names[1], time.time() - 3601)
    answer = remote.doit("model-verify", "--store", "--older-than", "1h")
    assert answer.out.startswith("4 blobs: 1 whole, 3 audited before; 1.0 KB read (")
    assert audit(remote, "--older-than", "1h")["recent"] == 4


def test_a_blob_that_came_since_is_first(shelf):
    remote, _ = shelf
    audit(remote)
    (new,) = store_of(remote.cache, b"new")
    assert audit(remote, "--max-bytes", "3")["whole"] == 1
    assert max(times(remote), key=times(remote).get) == new


def test_a_time_that_lies_ahead_of_the_clock_says_nothing(shelf):
    remote, names = shelf
    audit(remote)
    set_time(remote, names[3], time.time() + 86400)
    answer = remote.doit("model-verify", "--store", "--older-than", "1h")
    assert answer.err == (
        "note: the last audit of 1 blob lies ahead of the clock: a clock went back, and they count as never audited\n"
    )
    assert answer.out.startswith("4 blobs: 1 whole, 3 audited before;")


def test_a_blob_that_was_evicted_is_forgotten(shelf):
    remote, names = shelf
    audit(remote)
    blob_of(remote, names[0]).unlink()
    assert audit(remote)["blobs"] == 3
    assert times(remote).keys() == set(names[1:])


@pytest.mark.parametrize("how", ["gone", "not mounted"])
def test_a_store_that_is_not_mounted_is_told_and_keeps_its_record(shelf, how):
    remote, names = shelf
    audit(remote)
    remote.cache.rename(remote.cache.with_name("elsewhere"))
    if how == "not mounted":
        remote.cache.mkdir()
    assert remote.doit("model-verify", "--store", code=2).err == (
        "ERROR: no blob of the store is there any more\n"
        f"  where     {remote.cache}/blobs/sha256\n"
        "  expected  the blobs that earlier audits found: 4 with 4.0 KB\n"
        "  found     no such folder\n"
        "  fix       mount the disk of the store; or, if you removed the store yourself, remove "
        f"{record_of(remote)}, which knows its blobs\n"
    )
    assert times(remote).keys() == set(names)


def test_a_store_that_was_emptied_has_nothing_to_audit(shelf):
    remote, names = shelf
    audit(remote)
    for name in names:
        shutil.rmtree(blob_of(remote, name).parent, ignore_errors=True)
    assert "there is no blob in the store" in remote.doit("model-verify", "--store").out
    assert times(remote) == {}


def test_what_an_interrupted_audit_withdrew_is_told(here, monkeypatch):
    rot(here)

    def interrupted(store, sha256):
        raise KeyboardInterrupt

    monkeypatch.setattr("model_provisioner.store.blobs.Blobs.put_away", interrupted)
    answer = here.doit("model-verify", "--store", code=130)
    assert (
        f"FAIL  blob {TINY_SHA[:12]}  a fetched file is damaged: it holds other bytes than it came with\n" in answer.out
    )
    assert f"      failed: tiny of {here.project.root}/models.yaml (its handoff was withdrawn)\n" in answer.out
    assert here.project.handoff("tiny") is None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_loses_the_blobs_under_way_and_no_others(project, tmp_path, number):
    store = tmp_path / "cache"
    Store(str(store)).folder("blobs/sha256")
    sizes = [(65 + each) << 20 for each in range(5)]
    for size in sizes:  # holes, which read as zeros
        name = sha256(bytes(size))
        place = store / "blobs/sha256" / name[:2] / name
        place.parent.mkdir(exist_ok=True)
        with open(place, "wb") as file:
            file.truncate(size)
    project.models(f"models: {{}}\ncache_dir: {store}\n")
    remote = Remote(project, store, tmp_path)
    process = project.start_program("verify", "--store")
    wait_until(lambda: list((project.state / "audits").glob("*.db")) and _audited(remote))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert "interrupted: what was audited is kept;" in err.decode()
    done = _audited(remote)
    assert 1 <= len(done) < 5
    found = audit(remote, "--older-than", "1h")
    assert (found["whole"], found["recent"]) == (5 - len(done), len(done))


def _audited(remote):
    try:
        return {sha for sha, at in times(remote).items() if at}
    except sqlite3.OperationalError:  # it is just being made
        return set()


# ---- other workers


@pytest.mark.slow
def test_processes_read_and_a_blob_that_differs_is_read_here_once_more(here):
    bad = rot(here)
    answer = here.project.process("model-verify", "--store", "--scheduler", "local:2", code=1)
    assert f"        found     sha256:{bad}\n" in answer.out
    assert here.project.handoff("tiny") is None


def test_an_executor_that_is_none_is_told_before_anything_is_read(here):
    answer = here.doit("model-verify", "--store", "--scheduler", "local:none", code=3)
    assert answer.err.startswith("ERROR: local:none names no executor\n")
    assert not (here.project.state / "audits").exists()


# ---- blobs of which nothing can be told


def test_a_blob_that_can_t_be_read_is_told_and_stays_and_is_as_long_unread_as_it_was(here, monkeypatch):
    audit(here)
    before = times(here)

    def broken(fd, into, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("model_provisioner.hashing.uncached._read_direct", broken)
        answer = here.doit("model-verify", "--store", code=2)
    assert answer.out.startswith(
        "FAIL  blob a28bb84f488a  a blob can't be read\n"
        f"        where     {blob_of(here)}\n"
        "        expected  a file that you may read, on a disk that is sound\n"
        "        found     Input/output error\n"
        "        fix       it was left as it is: give yourself read permission, or look at the disk; if it is lost, remove the "
        "file, and `doit provision` fetches it again\n"
        "1 blob: 1 unreadable; 0 bytes read ("
    )
    assert here.project.handoff("tiny") is not None
    assert states(here) == {"tiny": "Active"}
    assert times(here) == before


def test_a_damaged_record_is_told(shelf):
    remote, _ = shelf
    audit(remote)
    record_of(remote).write_bytes(b"no database at all" * 100)
    for path in (remote.project.state / "audits").glob("*.db-*"):
        path.unlink()
    answer = remote.doit("model-verify", "--store", code=2)
    assert "ERROR: the audit record of the store is damaged or not a database\n" in answer.err


def test_a_shelf_that_can_t_be_listed_is_told_and_the_others_are_audited(shelf, monkeypatch):
    remote, names = shelf
    audit(remote)
    listed = Store.shelf

    def refused(store, digits):
        if digits == names[0][:2]:
            raise PermissionError(13, "Permission denied")
        return listed(store, digits)

    monkeypatch.setattr("model_provisioner.store.blobs.Blobs.shelf", refused)
    answer = remote.doit("model-verify", "--store", code=2)
    assert answer.err == (
        "ERROR: blobs can't be listed\n"
        f"  where     {remote.cache}/blobs/sha256/{names[0][:2]}\n"
        "  expected  a folder that you may read, on a disk that is there\n"
        "  found     Permission denied\n"
        "  fix       give yourself read and search permission (r-x) for it, or check that its disk is sound; then audit again\n"
    )
    assert answer.out.startswith("4 blobs: 4 whole;")  # what is known of its blobs stays
