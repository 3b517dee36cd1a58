"""The store: whole blobs or none, trees of links, records, and what is swept."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from model_provisioner.fs.fileset import discover
from model_provisioner.fs.folder import Folder
from model_provisioner.store.single_flight import single_flight
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.cleanup import KEPT_S, sweep
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.store import Store
from model_provisioner.store.tree import tree_key, tree_version
from model_provisioner.errors import DigestMismatchError, StorageError, UnsoundModelError


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def sha(data):
    return hashlib.sha256(data).hexdigest()


def put(store, data, key="a"):
    with Partial.open(store, key) as partial:
        partial.begin(None)
        partial.write(data)
        return store.blob_path(store.publish(partial, sha(data)).sha256)


def everything(store):
    """All files and links under the store but its tag, by their paths in it."""
    found = [
        os.path.relpath(os.path.join(where, name), store.root)
        for where, _, names in os.walk(store.root)
        for name in names
    ]
    return sorted(name for name in found if name != "CACHEDIR.TAG")


def unfinished(store):
    """Everything but the few bytes that a kill may leave for seven days: a draft, a note of what is a blob by now."""
    return [name for name in everything(store) if not re.fullmatch(r"partial/(draft\..*|.*\.json)", name)]


def age(path):
    os.utime(path, (time.time() - KEPT_S - 60,) * 2, follow_symlinks=False)


# ---- blobs


def test_looking_makes_nothing(store):
    assert not store.has(sha(b"x"))
    assert store.recorded("hf:a/b") is None
    assert store.put_away(sha(b"x")) is None
    sweep(store)
    assert not os.path.exists(store.root)


def test_a_blob_is_read_only_and_lies_where_its_digest_says(store):
    path = put(store, b"model")
    digest = sha(b"model")
    assert path == f"{store.root}/blobs/sha256/{digest[:2]}/{digest}" == store.blob_path(digest)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
    assert store.has(digest)
    assert store.has(digest, 5)
    assert not store.has(digest, 6)
    assert everything(store) == [os.path.relpath(path, store.root)]


TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"
OURS = TAG + b"# This file is a cache directory tag created by model-provisioner"


def test_the_store_is_marked_as_a_cache_of_ours_once(store):
    put(store, b"model")
    with open(f"{store.root}/CACHEDIR.TAG", "r+b") as tag:
        assert tag.read().startswith(OURS)
        tag.write(b"# a note of the user's")
    put(Store(store.root), b"another")
    with open(f"{store.root}/CACHEDIR.TAG", "rb") as tag:
        assert tag.read().endswith(b"# a note of the user's")


@pytest.mark.parametrize("before", ["read", "names"])
def test_a_store_that_another_run_begins_while_this_one_looks_is_a_store(store, monkeypatch, before):
    other, real = Store(store.root), getattr(Folder, before)
    Path(store.root).mkdir()

    def late(folder, *args):
        found = real(folder, *args)
        if not Path(store.root, "CACHEDIR.TAG").exists():
            monkeypatch.setattr(Folder, before, real)
            put(other, b"theirs")
        return found

    monkeypatch.setattr(Folder, before, late)
    assert Path(put(store, b"ours", key="b")).read_bytes() == b"ours"
    assert store.has(sha(b"theirs"))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["thesis.tex"], "'thesis.tex' and no CACHEDIR.TAG of ours"),
        (["blobs/sha256/x", "trees/x"], "'blobs' and no CACHEDIR.TAG of ours"),
        (["partial/theirs"], "'partial' and no CACHEDIR.TAG of ours"),
        (["lost+found/x", ".git/x"], "'.git' and no CACHEDIR.TAG of ours"),
        (["CACHEDIR.TAG"], "a CACHEDIR.TAG that is not ours"),
    ],
)
def test_a_folder_that_holds_something_else_is_no_store(store, names, found):
    for name in names:
        path = Path(store.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TAG + b"# of pip")
    before = everything(store)
    for use in (lambda: put(store, b"model"), lambda: store.has(sha(b"model")), lambda: store.recorded("hf:org/repo")):
        with pytest.raises(StorageError) as caught:
            use()
        assert str(caught.value) == (
            "the folder for fetched files holds something else\n"
            f"  where     {store.root}\n"
            "  expected  a new or empty folder, or one with the CACHEDIR.TAG of model-provisioner\n"
            f"  found     {found}\n"
            "  fix       it was left as it is: name a new folder in cache_dir, or in MODEL_PROVISIONER_CACHE_DIR"
        )
    assert everything(store) == before


@pytest.mark.parametrize("name", ["lost+found/x", ".snapshot/x", ".snapshots/x", ".zfs/x", f"partial/draft.{'0' * 16}"])
def test_a_new_folder_becomes_a_store(store, name):
    path = Path(store.root, name)
    path.parent.mkdir(parents=True)
    path.touch()
    put(store, b"model")
    assert store.has(sha(b"model"))
    assert path.exists()


def test_a_folder_of_which_records_know_is_a_store_and_gets_its_tag(store):
    put(store, b"model")
    os.unlink(f"{store.root}/CACHEDIR.TAG")
    known = Store(store.root, is_known=lambda: True)
    assert known.has(sha(b"model"))
    put(known, b"another")
    assert Path(store.root, "CACHEDIR.TAG").read_bytes().startswith(OURS)


def test_no_link_leads_from_the_top_to_the_store(tmp_path):
    """It is the project that names its store by a relative path: then the store is reached from there."""
    for folder in ("project/real", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/link").symlink_to("../elsewhere")
    (tmp_path / "project/real/link").symlink_to("../../elsewhere")
    for path in ("project/link", "project/link/cache", "project/real/link"):
        store = Store(str(tmp_path / path), top=str(tmp_path / "project"))
        with pytest.raises(StorageError) as caught:
            put(store, b"model")
        link = tmp_path / path.removesuffix("/cache")
        assert (caught.value.where, caught.value.found) == (
            str(link),
            f"a link to {os.readlink(link)}, which was left as it is",
        )
    assert os.listdir(tmp_path / "elsewhere") == []
    put(Store(str(tmp_path / "project/real/cache"), top=str(tmp_path / "project")), b"model")
    put(Store(str(tmp_path / "project/link/cache")), b"model")


def test_no_folder_is_for_everybody_to_write(run_python, tmp_path):
    run_python(
        "import os; os.umask(0)\n"
        "from model_provisioner.store.store import Store\n"
        f"Store({str(tmp_path / 'a' / 'cache')!r}).folder('blobs/sha256')"
    )
    for folder in ("a", "a/cache", "a/cache/blobs", "a/cache/blobs/sha256"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o775


def test_other_bytes_are_refused_and_not_found_again(store):
    partial = Partial.open(store, "a")
    partial.begin('"v"')
    partial.write(b"wrong")
    with pytest.raises(DigestMismatchError) as caught:
        store.publish(partial, sha(b"right"))
    assert str(caught.value) == (
        "the digest differs from what is expected\n"
        f"  where     {store.blob_path(sha(b'right'))}\n"
        f"  expected  sha256:{sha(b'right')}\n"
        f"  found     sha256:{sha(b'wrong')}\n"
        "  fix       get the file again from its source"
    )
    assert everything(store) == []


def test_a_blob_that_was_cut_is_replaced(store):
    path = put(store, b"model")
    os.chmod(path, 0o644)
    os.truncate(path, 2)
    assert not store.has(sha(b"model"), 5)
    assert put(store, b"model") == path
    assert store.has(sha(b"model"), 5)


def test_of_two_publishers_one_wins(store):
    data = os.urandom(100_000)
    ready = threading.Barrier(8)
    seen = set()

    def publish(number):
        with Partial.open(store, f"key {number}") as partial:
            partial.begin(None)
            partial.write(data)
            ready.wait()
            seen.add(os.stat(store.blob_path(store.publish(partial, sha(data)).sha256)).st_ino)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1, "the blob was replaced while another one used it"
    assert everything(store) == [os.path.relpath(store.blob_path(sha(data)), store.root)]


PUBLISH = """
import sys, os, hashlib
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.store import Store
store = Store(sys.argv[1])
with Partial.open(store, "a") as partial:
    partial.begin('"v"')
    for number in range(partial.size >> 16, 64):
        partial.write(bytes([number]) * (1 << 16))
    store.publish(partial, sys.argv[2])
"""
BIG = b"".join(bytes([number]) * (1 << 16) for number in range(64))


def test_two_processes_publish_one_blob(store):
    runs = [subprocess.Popen([sys.executable, "-c", PUBLISH, store.root, sha(BIG)]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert everything(store) == [os.path.relpath(store.blob_path(sha(BIG)), store.root)]


CALLS = "openat,flock,pwrite64,fsync,fchmod,renameat,unlinkat,ftruncate,close,mkdirat"


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)])
def test_a_kill_at_any_call_leaves_a_whole_blob_or_none(tmp_path, step):
    """Each call that the work makes inside the store is the last one once; the next run ends with the right bytes."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null"]
    try:
        subprocess.run([*strace, "true"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no strace")
    subprocess.run(
        [sys.executable, "-c", PUBLISH, str(tmp_path / "first"), sha(BIG)], check=True
    )  # all is compiled now
    log = tmp_path / "log"
    whole = [sys.executable, "-c", PUBLISH, str(tmp_path / "whole"), sha(BIG)]
    subprocess.run(["strace", "-f", "-qq", "-y", "-o", log, "-e", f"trace={CALLS}", *whole], check=True)
    lines = log.read_text().splitlines()
    main = [line for line in lines if line.split()[0] == lines[0].split()[0]]  # injections are counted by thread
    killed = 0
    for call in CALLS.split(","):
        same = [line for line in main if f" {call}(" in line]
        ours = [number for number, line in enumerate(same, start=1) if str(tmp_path / "whole") in line]
        assert ours, call
        for number in ours[::step] if len(ours) < 20 else (ours[0], ours[17], ours[-1]):
            store = Store(str(tmp_path / f"{call}-{number}"))
            command = [sys.executable, "-c", PUBLISH, store.root, sha(BIG)]
            inject = f"inject={call}:signal=KILL:when={number}"
            killed += subprocess.run([*strace, "-e", inject, *command], check=False).returncode == -9
            if store.has(sha(BIG)):
                with open(store.blob_path(sha(BIG)), "rb") as blob:
                    assert blob.read() == BIG, (call, number)
            assert subprocess.run(command, check=False).returncode == 0, (call, number)
            assert unfinished(store) == [os.path.relpath(store.blob_path(sha(BIG)), store.root)], (call, number)
    assert killed >= 30 // step


@pytest.mark.slow
@pytest.mark.parametrize("times", [8, pytest.param(25, marks=pytest.mark.long)])
def test_kills_at_random_moments_end_with_the_right_bytes(store, times):
    command = [sys.executable, "-c", PUBLISH.replace("partial.write", "__import__('time').sleep(.002); partial.write")]
    kills = 0
    for number in range(times):
        run = subprocess.Popen([*command, store.root, sha(BIG)])
        try:
            code = run.wait(0.08 + number * 0.175 / times)
        except subprocess.TimeoutExpired:
            run.kill()
            kills += run.wait() != 0
        else:
            assert code == 0
        assert len([name for name in unfinished(store) if name.startswith("partial/")]) <= 1
    assert kills
    assert subprocess.run([*command, store.root, sha(BIG)], check=False).returncode == 0
    assert unfinished(store) == [os.path.relpath(store.blob_path(sha(BIG)), store.root)]


def test_what_is_corrupt_is_not_found_again(store):
    path = put(store, b"model")
    away = store.put_away(sha(b"model"))
    assert os.path.dirname(away) == f"{store.root}/quarantine"
    assert os.path.basename(away).startswith(sha(b"model"))
    assert not os.path.exists(path)
    assert not store.has(sha(b"model"))
    assert store.put_away(sha(b"model")) is None


@pytest.mark.parametrize("digest", ["", "../../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_digest_that_is_none_leads_nowhere(store, digest):
    with pytest.raises(UnsoundModelError) as caught:
        store.has(digest)
    assert str(caught.value).startswith(
        "the source of a model names a digest that is none\n  where     what the source lists\n  expected  64 hexadecimal digits"
    )


# ---- trees


def test_a_tree_of_one_file_is_that_file(store):
    put(store, b"model")
    path = store.make_tree("hf:org/repo/x.gguf", {"x.gguf": sha(b"model")})
    version = tree_version({"x.gguf": sha(b"model")})
    assert path == f"{store.root}/trees/hf-org-repo-x.gguf-{tree_key('hf:org/repo/x.gguf')[-16:]}/{version}/x.gguf"
    assert os.readlink(path) == f"../../../blobs/sha256/{sha(b'model')[:2]}/{sha(b'model')}"
    assert version == sha(f"{sha(b'model')}  x.gguf\n".encode())[:16]
    with open(path, "rb") as file:
        assert file.read() == b"model"
    assert discover(path).kind == "file"


def test_a_tree_of_a_split_is_its_first_shard(store):
    shards = {f"q/m-0000{number}-of-00003.gguf": b"shard %d" % number for number in (3, 1, 2)}
    for data in shards.values():
        put(store, data)
    path = store.make_tree("hf:org/repo/q/m-00001-of-00003.gguf", {name: sha(data) for name, data in shards.items()})
    assert path.endswith("/q/m-00001-of-00003.gguf")
    found = discover(path)
    assert found.kind == "split"
    assert [Path(member.path).read_bytes() for member in found.members] == [b"shard 1", b"shard 2", b"shard 3"]


def test_a_tree_of_more_is_a_folder(store):
    files = {"config.json": b"{}", "sub/model.safetensors": b"weights", "sub/copy.safetensors": b"weights"}
    for data in set(files.values()):
        put(store, data)
    path = store.make_tree("hf:org/repo", {name: sha(data) for name, data in files.items()})
    found = discover(path, stores=(store.blobs,))
    assert found.kind == "folder"
    assert {member.name: Path(member.path).read_bytes() for member in found.members} == files


def test_a_folder_that_holds_one_file_is_still_a_folder(store):
    put(store, b"{}")
    path = store.make_tree("hf:org/repo", {"config.json": sha(b"{}")}, folder=True)
    assert os.listdir(path) == ["config.json"]


def test_a_tree_is_made_once_and_mended(store):
    put(store, b"model")
    files = {"a/x": sha(b"model"), "y": sha(b"model")}
    path = store.make_tree("id", files)
    before = os.stat(path).st_ino
    assert store.make_tree("id", files) == path
    assert os.stat(path).st_ino == before
    with open(f"{path}/a/planted", "w"):
        pass
    assert store.make_tree("id", files) == path
    assert os.listdir(f"{path}/a") == ["x"]
    os.symlink("/etc", f"{path}/a/a folder")
    assert store.make_tree("id", files) == path
    assert os.listdir(f"{path}/a") == ["x"]
    os.unlink(f"{path}/a/x")
    os.symlink("/etc/passwd", f"{path}/a/x")
    assert store.make_tree("id", files) == path
    assert os.readlink(f"{path}/a/x").startswith("../../../../blobs/")
    assert os.listdir(f"{store.root}/partial") == []


def test_one_tree_made_by_many_at_once(store):
    put(store, b"model")
    files = {f"{number}/x": sha(b"model") for number in range(20)}
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(store.make_tree("id", files))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert len(os.listdir(paths[0])) == 20
    assert os.listdir(f"{store.root}/partial") == []


def test_the_trees_of_two_models_never_meet(store):
    assert tree_key("hf:a/b") != tree_key("hf:a-b")
    assert tree_key("x" * 500).startswith("x" * 80 + "-")
    assert len(tree_key("x" * 500)) == 97
    assert tree_key("../..") == f"-{sha(b'../..')[:16]}"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../x", "a path that leads out of the model: ../x"),
        ("a/../../x", "a path that leads out of the model: a/../../x"),
        ("/etc/x", "an absolute path: /etc/x"),
        ("a\0b", "a NUL, newline or backslash: a\\x00b"),
        ("a\nb", "a NUL, newline or backslash: a\\nb"),
        ("", "a part without a name: "),
        ("a//b", "a part without a name: a//b"),
        ("./a", "a part without a name: ./a"),
        ("\udcff", "bytes that are not UTF-8: \\udcff"),
        ("é" * 128, f"a part that is too long: {'é' * 128}"),
    ],
)
def test_a_name_that_would_leave_the_tree(store, name, found):
    with pytest.raises(UnsoundModelError) as caught:
        store.make_tree("hf:org/repo", {name: sha(b""), "fine": sha(b"")})
    assert str(caught.value) == (
        "a file name that the store can't hold\n"
        "  where     hf:org/repo\n"
        "  expected  a relative path without .. and of parts of at most 255 bytes, in UTF-8\n"
        f"  found     {found}\n"
        "  fix       this is how its source names the file: get the model from another source, or leave that file out"
    )
    assert not os.path.exists(store.root)


def test_a_file_and_a_folder_of_one_name(store):
    with pytest.raises(UnsoundModelError) as caught:
        store.make_tree("id", {"a": sha(b""), "a/b": sha(b"")})
    assert caught.value.found == "a folder with the name of a file: a/b"


# ---- records


def record(store, ref="hf:org/repo"):
    return Record(
        ref=ref,
        revision="c0ffee",
        files=(StoredFile(name="a/é.gguf", size=5, sha256=sha(b"model")),),
        tree=f"{store.root}/trees/key/version/a/é.gguf",
    )


def test_a_record_comes_back_wherever_the_store_lies(store, tmp_path):
    store.record(record(store))
    assert store.recorded("hf:org/repo") == record(store)
    assert store.recorded("hf:org/other") is None
    os.rename(store.root, tmp_path / "moved")
    moved = Store(str(tmp_path / "moved"))
    assert moved.recorded("hf:org/repo") == record(moved)
    (name,) = everything(moved)
    with open(os.path.join(moved.root, name), "rb") as file:
        assert json.load(file) == {
            "ref": "hf:org/repo",
            "revision": "c0ffee",
            "files": [{"name": "a/é.gguf", "sha256": sha(b"model"), "size": 5}],
            "tree": "trees/key/version/a/é.gguf",
            "wrong": False,
        }


def test_a_record_is_noted_as_wrong_unless_it_says_something_else_by_now(store):
    store.record(record(store))
    store.note_wrong("hf:org/repo", [sha(b"others")])
    store.note_wrong("hf:org/another", [sha(b"model")])
    assert store.recorded("hf:org/repo") == record(store)
    store.note_wrong("hf:org/repo", [sha(b"model")])
    assert store.recorded("hf:org/repo") == replace(record(store), wrong=True)
    assert store.recorded("hf:org/another") is None


def test_a_record_of_an_earlier_version_is_of_nothing_wrong(store):
    store.record(record(store))
    (name,) = everything(store)
    path = os.path.join(store.root, name)
    with open(path, "rb") as file:
        body = json.load(file)
    body["etag"] = None
    del body["wrong"]
    with open(path, "w") as file:
        json.dump(body, file)
    assert store.recorded("hf:org/repo") == record(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.pop("tree"),
        lambda body: body.update(ref="hf:org/another"),
        lambda body: body.update(tree="/etc"),
        lambda body: body.update(tree="trees/../../etc"),
        lambda body: body.update(tree="blobs/x"),
        lambda body: body.update(revision=7),
        lambda body: body.update(files=None),
        lambda body: body.update(files=[7]),
        lambda body: body["files"][0].update(name="../x"),
        lambda body: body["files"][0].update(size=-1),
        lambda body: body["files"][0].update(size=True),
        lambda body: body["files"][0].update(sha256="x"),
    ],
)
def test_a_damaged_record_is_none(store, change):
    store.record(record(store))
    path = os.path.join(store.root, everything(store)[0])
    with open(path, "rb") as file:
        body = json.load(file)
    change(body)
    with open(path, "w") as file:
        json.dump(body, file)
    assert store.recorded("hf:org/repo") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_none(store, data):
    store.record(record(store))
    with open(os.path.join(store.root, everything(store)[0]), "wb") as file:
        file.write(data)
    assert store.recorded("hf:org/repo") is None


# ---- what is left over


def test_what_nobody_owns_is_removed_after_seven_days(store):
    put(store, b"bad")
    away = store.put_away(sha(b"bad"))
    old, young, mine = (Partial.open(store, key) for key in ("old", "young", "mine"))
    for partial in (old, young, mine):
        partial.begin('"v"')
        partial.write(b"half")
    old.close()
    young.close()
    orphan = f"{store.root}/partial/{'0' * 64}.{'0' * 16}.json"
    theirs = [
        f"{store.root}/{name}" for name in ("partial/x.json", "partial/tree.x/x", "quarantine/x", "leases/x", "locks/x")
    ]
    for path in (orphan, *theirs):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w"):
            pass
        age(path)
    with single_flight(store, "in use"):
        for path in (
            away,
            old.path,
            f"{old.path}.json",
            mine.path,
            f"{mine.path}.json",
            orphan,
        ):
            age(path)
        sweep(store)
        assert os.path.exists(mine.path)
        assert os.path.exists(young.path)
        assert not os.path.exists(old.path)
        assert not os.path.exists(f"{old.path}.json")
        assert not os.path.exists(orphan)
        assert all(map(os.path.exists, theirs)), "only what has a name of ours is removed"
        assert os.path.exists(away), "it was moved a moment ago, whatever its bytes' age"
    mine.discard()


def test_lock_files_go_when_nobody_holds_them(store):
    with single_flight(store, "gone"):
        pass
    with single_flight(store, "held"):
        for name in os.listdir(f"{store.root}/locks"):
            age(f"{store.root}/locks/{name}")
        sweep(store)
        assert os.listdir(f"{store.root}/locks") == [f"{sha(b'held')}.lock"]


# ---- disks that don't take it


def test_a_file_where_the_store_belongs(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError) as caught:
        put(Store(str(tmp_path / "cache")), b"model")
    assert str(caught.value) == (
        "a folder of the store can't be made\n"
        f"  where     {tmp_path}/cache\n"
        "  expected  a file or folder that we can write\n"
        "  found     Not a directory\n"
        "  fix       a file has the name of a folder in this path: rename it"
    )


@pytest.mark.parametrize("name", ["partial", "blobs", "blobs/sha256"])
def test_a_file_where_a_folder_belongs(store, name):
    store.folder("")
    shutil.rmtree(f"{store.root}/partial")
    os.makedirs(os.path.dirname(os.path.join(store.root, name)), exist_ok=True)
    with open(os.path.join(store.root, name), "w"):
        pass
    with pytest.raises(StorageError) as caught:
        put(store, b"model")
    assert caught.value.what == "a folder of the store can't be made"
    assert caught.value.fix in (
        "a file has the name of this folder: rename it",
        "a file has the name of a folder in this path: rename it",
    )


def test_a_folder_where_a_blob_belongs(store):
    store.folder("")
    os.makedirs(f"{store.blob_path(sha(b'model'))}/x")
    assert not store.has(sha(b"model"))
    with pytest.raises(StorageError) as caught:
        put(store, b"model")
    assert caught.value.what == "a file can't be taken into the store"
    assert caught.value.fix == "a folder has the name of this file: rename it"


def mounted(setup, program):
    """Run a Python program where `setup` (a shell command) was done first, unseen by the rest of the machine."""
    run = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{setup} && exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in run.stderr:
        pytest.skip("no namespaces here")
    return run.stdout + run.stderr


def test_a_read_only_store_is_read_and_told(store):
    put(store, b"model")
    said = mounted(
        f"mount --bind '{store.root}' '{store.root}' && mount -o remount,ro,bind '{store.root}'",
        f"""
from model_provisioner.store.store import Store
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.errors import StorageError
store = Store({store.root!r})
assert store.has({sha(b"model")!r}, 5)
for act in (lambda: Partial.open(store, "a"), lambda: store.put_away({sha(b"model")!r}), lambda: store.make_tree("i", {{"x": {sha(b"model")!r}}})):
    try:
        act()
    except StorageError as error:
        print(error.fix)
""",
    )
    assert said == "the disk is read-only: set cache_dir to a folder that you can write\n" * 3


def test_a_full_disk_keeps_what_came(tmp_path):
    said = mounted(
        f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}'",
        f"""
from model_provisioner.store.store import Store
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.errors import StorageError
import os
store = Store({str(tmp_path / "cache")!r})
with Partial.open(store, "a") as partial:
    partial.begin('"v"')
    try:
        for number in range(100):
            partial.write(bytes([number]) * 50_000)
    except StorageError as error:
        print(error.what, "|", error.found, "|", error.fix)
    size = partial.size
    print(size % 50_000, size > 500_000, os.stat(partial.path).st_size == size)
with Partial.open(store, "a") as partial:
    print(partial.size == size, partial.validator)
    import hashlib
    print(partial.finish().sha256 == hashlib.sha256(b"".join(bytes([n]) * 50_000 for n in range(size // 50_000))).hexdigest())
""",
    )
    assert said == (
        "a download could not be written | No space left on device | "
        "free some space on that disk and run again; what was finished is kept\n"
        "0 True True\n"
        'True "v"\n'
        "True\n"
    )
