"""Which files a local path stands for, and what is said of one that stands for none."""

import os
import re
import socket
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.fs.fileset import FileSet, Member, discover
from model_provisioner.references.shards import split_names
from model_provisioner.errors import ModelNotFoundError, UnreadableModelError, UnsoundModelError


def make(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def names(files):
    return [member.name for member in files.members]


# ---- one file


def test_a_file_stands_for_itself(tmp_path):
    make(tmp_path, "x.gguf")
    path = f"{tmp_path}/x.gguf"
    assert discover(path) == FileSet(path=path, kind="file", members=(Member("x.gguf", path),))


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    make(tmp_path, "x.gguf")
    monkeypatch.chdir(tmp_path)
    assert discover("x.gguf") == discover(f"{tmp_path}/x.gguf")


def test_a_link_keeps_its_name(tmp_path):
    make(tmp_path, "blobs/1234")
    (tmp_path / "x.gguf").symlink_to("blobs/1234")
    assert discover(f"{tmp_path}/x.gguf").members == (Member("x.gguf", f"{tmp_path}/x.gguf"),)


@pytest.mark.parametrize("name", ["a b\n\\.gguf", "\udcff.gguf", "modèle", "-", "x-00001-of-00001.gguf", ".DS_Store"])
def test_one_file_may_have_any_name(tmp_path, name):
    make(tmp_path, name)
    files = discover(f"{tmp_path}/{name}")
    assert (files.kind, names(files)) == ("file", [name])


# ---- a split


@pytest.mark.parametrize(
    ("path", "shards"),
    [
        ("/m/x-00001-of-00002.gguf", ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]),
        ("x-00001-of-00001.gguf", ["x-00001-of-00001.gguf"]),
        ("-00001-of-00001.gguf", ["-00001-of-00001.gguf"]),
        ("a\nb-00001-of-00001.gguf", ["a\nb-00001-of-00001.gguf"]),
        ("x-00002-of-00002.gguf", ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]),
        ("x-00001-of-00000.gguf", None),
        ("x-1-of-2.gguf", None),
        ("x-00001-of-00002.GGUF", None),
        ("x-00001-of-00002.gguf.part", None),
        ("x-٠٠٠٠١-of-00002.gguf", None),
        ("x-000001-of-000002.gguf", None),
        ("x-00001-of-00002.gguf/y", None),
    ],
)
def test_names_of_shards(path, shards):
    assert split_names(path) == shards


@given(st.text(st.characters(blacklist_characters="/\0")), st.integers(1, 300))
def test_names_of_shards_are_those_of_llama_cpp(prefix, count):
    assert split_names("/m/%s-%05d-of-%05d.gguf" % (prefix, 1, count)) == [
        "%s-%05d-of-%05d.gguf" % (prefix, number, count) for number in range(1, count + 1)
    ]


SHARDS = [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


def test_the_first_shard_stands_for_all(tmp_path):
    make(tmp_path, *SHARDS, "other.gguf", "n-00001-of-00002.gguf")
    path = f"{tmp_path}/{SHARDS[0]}"
    members = tuple(Member(name, f"{tmp_path}/{name}") for name in SHARDS)
    assert discover(path) == FileSet(path=path, kind="split", members=members)


def test_shards_may_be_links(tmp_path):
    make(tmp_path, "blobs/1", "blobs/2", "blobs/3")
    (tmp_path / "snapshot").mkdir()
    for number, name in enumerate(SHARDS, 1):
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{number}")
    assert names(discover(f"{tmp_path}/snapshot/{SHARDS[0]}")) == SHARDS


@pytest.mark.parametrize("name", [SHARDS[1], "m-00000-of-00003.gguf", "m-00004-of-00003.gguf"])
def test_another_shard_than_the_first_is_refused(tmp_path, name):
    make(tmp_path, *SHARDS, name)
    with pytest.raises(UnsoundModelError) as caught:
        discover(f"{tmp_path}/{name}")
    assert str(caught.value) == (
        "a split is referenced by its first shard\n"
        f"  where     {tmp_path}/{name}\n"
        f"  expected  {SHARDS[0]}\n"
        f"  found     {name}\n"
        f"  fix       name {tmp_path}/{SHARDS[0]}"
    )


def test_a_missing_shard_is_named(tmp_path):
    make(tmp_path, SHARDS[0], SHARDS[2], "n-00002-of-00003.gguf")
    with pytest.raises(UnsoundModelError) as caught:
        discover(f"{tmp_path}/{SHARDS[0]}")
    assert str(caught.value) == (
        f"a shard of the split is missing: {SHARDS[1]}\n"
        f"  where     {tmp_path}\n"
        f"  expected  3 shards, {SHARDS[0]} to {SHARDS[2]}\n"
        "  found     no such file\n"
        "  fix       get the shard again"
    )


@pytest.mark.parametrize(
    "renamed", ["m-2-of-3.gguf", f"{SHARDS[1]}.part", "M-00002-of-00003.gguf ", "m-00002-of-00004.gguf"]
)
def test_a_renamed_shard_is_named_too(tmp_path, renamed):
    make(tmp_path, SHARDS[0], SHARDS[2], renamed, *(f"n-0000{n}-of-00003.gguf" for n in (1, 2, 3)))
    with pytest.raises(UnsoundModelError) as caught:
        discover(f"{tmp_path}/{SHARDS[0]}")
    assert caught.value.found == f"a file of a similar name, {renamed}"
    assert caught.value.fix == "rename it back if it is that shard, else get the shard again"


def test_of_many_missing_shards_the_first_is_named(tmp_path):
    make(tmp_path, "m-00001-of-99999.gguf")
    with pytest.raises(UnsoundModelError, match="m-00002-of-99999.gguf"):
        discover(f"{tmp_path}/m-00001-of-99999.gguf")


@pytest.mark.parametrize(
    ("put", "error", "what"),
    [
        (os.mkdir, UnreadableModelError, "a folder where a file belongs"),
        (os.mkfifo, UnreadableModelError, "a FIFO where a file belongs"),
        (lambda path: os.symlink("gone", path), ModelNotFoundError, "a link that leads nowhere"),
        (lambda path: os.symlink(path, path), UnreadableModelError, "a link that leads in a circle"),
    ],
)
def test_a_shard_must_be_a_file(tmp_path, put, error, what):
    make(tmp_path, SHARDS[0], SHARDS[2])
    put(f"{tmp_path}/{SHARDS[1]}")
    with pytest.raises(error) as caught:
        discover(f"{tmp_path}/{SHARDS[0]}")
    assert (caught.value.what, caught.value.where) == (what, f"{tmp_path}/{SHARDS[1]}")


def test_a_name_that_a_set_cannot_hold_is_refused_in_a_split(tmp_path):
    make(tmp_path, "a\\b-00001-of-00002.gguf", "a\\b-00002-of-00002.gguf")
    with pytest.raises(UnsoundModelError, match="a name that a set of files can't hold"):
        discover(f"{tmp_path}/a\\b-00001-of-00002.gguf")


# ---- a folder


def test_a_folder_stands_for_every_file_in_it(tmp_path):
    kept = [
        ".cache/other",
        ".dot",
        "B",
        "a b",
        "a-b",
        "a.x",
        "a/b/c",
        "a/z",
        "a0",
        "cache/huggingface/x",
        "gitx",
        "é",
        "🦙",
    ]
    kept += [".gitignore", "huggingface/x", "\uffff"]
    left = [
        ".git/config",
        "a/.git/HEAD",
        ".cache/huggingface/x",
        "a/.cache/huggingface/b/c",
        ".DS_Store",
        "a/.DS_Store",
        "a/.model-provisioner-clock-x",
    ]
    make(tmp_path, *kept, *left)
    (tmp_path / "empty").mkdir()
    files = discover(str(tmp_path))
    assert (files.path, files.kind) == (str(tmp_path), "folder")
    assert names(files) == sorted(kept, key=os.fsencode)
    assert [member.path for member in files.members] == [f"{tmp_path}/{name}" for name in names(files)]


def test_the_documented_command_lists_the_same_files(tmp_path):
    make(tmp_path, "x", "a/.y", ".git/z", "a/.cache/huggingface/z", "a/.DS_Store", " b")
    command = (
        r"find . -type f -not -path '*/.git/*' -not -path '*/.cache/huggingface/*' -not -name .DS_Store -printf '%P\n'"
    )
    page = os.path.join(os.path.dirname(__file__), "../../docs/reference/references.md")
    with open(page, encoding="utf-8") as file:
        assert command.removesuffix(r" -printf '%P\n'") in file.read()
    listed = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert sorted(listed.splitlines()) == names(discover(str(tmp_path)))


def test_a_folder_may_be_a_link(tmp_path):
    make(tmp_path, "real/x")
    (tmp_path / "model").symlink_to("real")
    assert discover(f"{tmp_path}/model").members == (Member("x", f"{tmp_path}/model/x"),)


@pytest.fixture
def deep_path(tmp_path, monkeypatch):
    """A path below `tmp_path` of more folders than Python has frames, which Python's own removal can't take."""
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    yield "/".join(["d"] * 1500)
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_a_folder_may_be_deep(tmp_path, deep_path):
    make(tmp_path / deep_path, "x")
    assert names(discover(str(tmp_path))) == [f"{deep_path}/x"]


def test_links_inside_the_folder_are_followed(tmp_path):
    make(tmp_path, "model/.git/annex/1", "model/a/x")
    (tmp_path / "model" / "y").symlink_to("a/x")
    (tmp_path / "model" / "z").symlink_to(".git/annex/1")
    assert names(discover(f"{tmp_path}/model")) == ["a/x", "y", "z"]


@pytest.mark.parametrize("below", ["", "/onnx"])
def test_links_into_the_hugging_face_cache_are_followed(tmp_path, below):
    repo = tmp_path / "hub" / "models--org--name"
    make(repo, "blobs/1234")
    folder = f"{repo}/snapshots/abc{below}"
    os.makedirs(folder)
    os.symlink(os.path.relpath(f"{repo}/blobs/1234", folder), f"{folder}/config.json")
    (tmp_path / "model").symlink_to(folder)
    assert names(discover(folder)) == names(discover(f"{tmp_path}/model")) == ["config.json"]


def test_links_into_a_store_are_followed(tmp_path):
    make(tmp_path, "store/1234")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x").symlink_to("../store/1234")
    assert names(discover(f"{tmp_path}/model", stores=(f"{tmp_path}/store",))) == ["x"]


@pytest.mark.parametrize(
    ("target", "error", "what", "found"),
    [
        ("{0}/outside", UnsoundModelError, "a link that leads out of the model's folder", "a link to {0}/outside"),
        ("../model2/x", UnsoundModelError, "a link that leads out of the model's folder", "a link to {0}/model2/x"),
        ("/dev/null", UnsoundModelError, "a link that leads out of the model's folder", "a link to /dev/null"),
        ("sub", UnsoundModelError, "a link to a folder, which is not followed", "a link to {0}/model/sub"),
        ("..", UnsoundModelError, "a link to a folder, which is not followed", "a link to {0}"),
        ("gone", ModelNotFoundError, "a link that leads nowhere", "{0}/model/link links to gone, which is not there"),
        ("link", UnreadableModelError, "a link that leads in a circle", "{0}/model/link"),
        ("sub/fifo", UnreadableModelError, "a FIFO where a file belongs", "a FIFO"),
    ],
)
def test_other_links_are_refused(tmp_path, target, error, what, found):
    make(tmp_path, "outside", "model2/x", "model/sub/x")
    if "fifo" in target:
        os.mkfifo(tmp_path / "model/sub/fifo")
    (tmp_path / "model" / "link").symlink_to(target.format(tmp_path))
    with pytest.raises(error) as caught:
        discover(f"{tmp_path}/model")
    told = caught.value
    assert (told.what, told.where, told.found) == (what, f"{tmp_path}/model/link", found.format(tmp_path))


def test_a_link_that_leads_out_is_told_in_full(tmp_path):
    make(tmp_path, "secret")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x").symlink_to("../secret")
    with pytest.raises(UnsoundModelError) as caught:
        discover(f"{tmp_path}/model")
    assert str(caught.value) == (
        "a link that leads out of the model's folder\n"
        f"  where     {tmp_path}/model/x\n"
        "  expected  a link to a file inside the folder, or into its Hugging Face cache\n"
        f"  found     a link to {tmp_path}/secret\n"
        "  fix       put the file itself in the place of the link"
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a\nb", "a newline in a\\nb"),
        ("a\rb", "a newline in a\\rb"),
        ("a\\b", "a backslash in a\\b"),
        ("a\udcff", "bytes that are not UTF-8 in a\\udcff"),
        ("bad\n/x", "a newline in bad\\n/x"),
    ],
)
def test_names_that_a_set_cannot_hold_are_refused(tmp_path, name, found):
    make(tmp_path, name, "fine")
    with pytest.raises(UnsoundModelError) as caught:
        discover(str(tmp_path))
    assert str(caught.value) == (
        "a name that a set of files can't hold\n"
        f"  where     {tmp_path}\n"
        "  expected  UTF-8 without newline and backslash\n"
        f"  found     {found}\n"
        "  fix       rename it, or move it out of the folder"
    )


@pytest.mark.parametrize("left", [None, ".git/config", ".DS_Store", "sub/.cache/huggingface/x"])
def test_an_empty_folder_is_refused(tmp_path, left):
    if left:
        make(tmp_path, left)
    with pytest.raises(UnsoundModelError) as caught:
        discover(str(tmp_path))
    assert str(caught.value) == (
        "the folder holds no file\n"
        f"  where     {tmp_path}\n"
        "  expected  the files of a model\n"
        "  found     none that counts\n"
        "  fix       name the folder that holds them; .git, .cache/huggingface and .DS_Store don't count"
    )


# ---- what is no file


def make_socket(path):
    os.chdir(os.path.dirname(path))  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.basename(path))


@pytest.mark.parametrize(("put", "kind"), [(os.mkfifo, "a FIFO"), (make_socket, "a socket")])
@pytest.mark.parametrize("below", ["", "/x"])
def test_neither_alone_nor_in_a_folder_is_it_waited_for(tmp_path, monkeypatch, put, kind, below):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    path = f"{tmp_path}/model/x"
    put(path)
    with pytest.raises(UnreadableModelError) as caught:
        discover(path if below else f"{tmp_path}/model")
    assert str(caught.value) == (
        f"{kind} where a file belongs\n"
        f"  where     {path}\n"
        "  expected  a regular file\n"
        f"  found     {kind}\n"
        "  fix       name a file that holds a model"
    )


def test_a_device_is_refused():
    with pytest.raises(UnreadableModelError, match="a character device where a file belongs"):
        discover("/dev/null")


@pytest.mark.parametrize("name", ["x.gguf", "X.GGUF", "x.safetensors", "x-00001-of-00002.gguf"])
@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_with_the_name_of_a_file_is_refused(tmp_path, name, end):
    make(tmp_path, f"{name}/weights")
    with pytest.raises(UnreadableModelError) as caught:
        discover(f"{tmp_path}/{name}{end}")
    assert str(caught.value) == (
        "a folder where a file belongs\n"
        f"  where     {tmp_path}/{name}{end}\n"
        "  expected  a regular file\n"
        "  found     a folder\n"
        "  fix       name the file itself"
    )


def test_an_error_is_the_same_each_time(tmp_path):
    make(tmp_path, *(f"{letter}\\" for letter in "qwertyuiop"))
    with pytest.raises(UnsoundModelError, match=re.escape("e\\")):
        discover(str(tmp_path))


def test_a_blob_of_a_snapshot_may_be_one_that_repositories_share(tmp_path):
    shared = tmp_path / "hub/blobs/ab/abcd"
    blob = tmp_path / "hub/models--org--repo/blobs/abcd"
    name = tmp_path / "hub/models--org--repo/snapshots" / ("c" * 40) / "config.json"
    for path in (shared, blob, name):
        path.parent.mkdir(parents=True)
    shared.write_bytes(b"{}")
    blob.symlink_to("../../blobs/ab/abcd")
    name.symlink_to("../../blobs/abcd")
    assert [member.name for member in discover(str(name.parent)).members] == ["config.json"]
