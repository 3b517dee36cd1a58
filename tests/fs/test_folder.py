"""Folders held by descriptor: where their path leads meanwhile does not matter, and no link below a root is followed."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_provisioner.fs.read import NotOursError
from model_provisioner.fs.folder import Folder, PrivateFolder
from model_provisioner.fs.root import Root


@pytest.fixture
def folder(tmp_path):
    return Folder.at(str(tmp_path))


def planted(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x").write_bytes(b"precious")
    return tmp_path / "victim"


def test_what_is_done_in_a_folder_is_done_there_wherever_its_path_leads(tmp_path):
    (tmp_path / "ours").mkdir()
    folder = Folder.at(str(tmp_path / "ours"))
    os.rename(tmp_path / "ours", tmp_path / "moved")
    os.symlink(planted(tmp_path), tmp_path / "ours")
    folder.write("x", b"new", sync=True)
    folder.mkdir("sub")
    folder.rename("x", folder.folder("sub"), "y")
    folder.sync()
    assert folder.names() == ["sub"]
    assert (tmp_path / "moved/sub/y").read_bytes() == b"new"
    assert (tmp_path / "victim/x").read_bytes() == b"precious"


def test_a_folder_is_compared_with_what_is_at_its_path_now(tmp_path, monkeypatch):
    (tmp_path / "ours").mkdir()
    folder = Folder.at(str(tmp_path / "ours"))
    assert folder.is_at_its_path()
    os.rename(tmp_path / "ours", tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        folder.is_at_its_path()
    (tmp_path / "ours").mkdir()
    assert not folder.is_at_its_path()
    os.rmdir(tmp_path / "ours")
    os.symlink("moved", tmp_path / "ours")
    assert folder.is_at_its_path()
    monkeypatch.chdir(tmp_path)
    assert Folder.at("").is_at_its_path()


def test_no_link_is_opened_read_or_written(tmp_path, folder):
    victim = planted(tmp_path)
    os.symlink(victim, tmp_path / "folder")
    os.symlink(victim / "x", tmp_path / "file")
    with pytest.raises(OSError):
        folder.folder("folder")
    with pytest.raises(OSError):
        folder.open("file", os.O_RDWR | os.O_TRUNC)
    with pytest.raises(NotOursError):
        folder.write("file", b"new", sync=False)
    assert folder.read("file") is None
    assert (victim / "x").read_bytes() == b"precious"


def test_removing_a_link_leaves_what_it_leads_to(tmp_path, folder):
    victim = planted(tmp_path)
    os.symlink(victim, tmp_path / "link")
    (tmp_path / "tree/sub").mkdir(parents=True)
    os.symlink(victim, tmp_path / "tree/sub/link")
    for name in ("link", "tree", "nothing"):
        folder.remove_all(name)
    assert folder.names() == ["victim"]
    assert (victim / "x").read_bytes() == b"precious"


def test_only_a_regular_file_is_opened_and_without_waiting(tmp_path, folder):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "sub").mkdir()
    for name, error in (("fifo", NotOursError), ("sub", IsADirectoryError)):
        assert folder.read(name) is None
        with pytest.raises(error):
            folder.open(name)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_APPEND]
)
@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lambda path: path.symlink_to("/dev/null"), "a link to /dev/null"),
        (lambda path: path.symlink_to("nowhere"), "a link to nowhere"),
        (os.mkfifo, "a FIFO"),
        (bound_socket, "a socket"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_by_name(tmp_path, folder, monkeypatch, plant, found, flags):
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    plant(Path("x"))
    before = os.lstat("x")
    with pytest.raises(NotOursError) as caught:
        folder.open("x", flags)
    assert (caught.value.filename, caught.value.strerror) == (f"{tmp_path}/x", found)
    with pytest.raises(NotOursError):
        folder.check("x")
    assert os.lstat("x") == before


def test_what_is_written_has_one_name(tmp_path, folder):
    (tmp_path / "theirs").write_bytes(b"precious")
    os.link(tmp_path / "theirs", tmp_path / "ours")
    with pytest.raises(NotOursError, match="a hard link, another name of some file"):
        folder.open("ours", os.O_RDWR | os.O_CREAT)
    with pytest.raises(NotOursError):
        folder.touch("ours")
    assert folder.read("ours") == b"precious"


def test_a_private_folder_has_nothing_of_others(tmp_path, monkeypatch):
    me = os.geteuid()
    with Root(str(tmp_path / "state"), kind=PrivateFolder) as root:
        root.make("sub").write("x", b"", sync=False)
        assert [oct(os.stat(tmp_path / "state" / name).st_mode & 0o777) for name in (".", "sub", "sub/x")] == [
            "0o700",
            "0o700",
            "0o600",
        ]
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        with pytest.raises(NotOursError, match=f"something that belongs to the user {me}"):
            root.folder("sub").open("x")
    with Root(str(tmp_path / "state"), kind=PrivateFolder) as root, pytest.raises(NotOursError):
        root.folder("sub")


def test_is_it_there_yes_no_or_can_not_be_told(tmp_path, folder):
    os.symlink("nowhere", tmp_path / "broken")
    assert folder.has("broken")
    assert not folder.has("none")
    with pytest.raises(OSError, match="too long"):
        folder.has("x" * 300)


def test_two_listings_at_once_do_not_share_a_position(tmp_path, folder):
    names = [f"{number:03}" for number in range(500)]
    for name in names:
        (tmp_path / name).touch()
    found = []
    threads = [threading.Thread(target=lambda: found.extend(folder.names() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [names] * 80


def test_what_lies_below(tmp_path, folder):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"12345")
    os.symlink("../target", tmp_path / "a/link")
    os.symlink("/", tmp_path / "top")
    found = dict(folder.walk())
    assert found.pop("a/b/file").st_size == 5
    assert found == {"a/link": "../target", "top": "/"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a folder that can't be listed")
def test_a_folder_that_may_only_be_searched_is_held(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/x").write_bytes(b"known by name")
    (tmp_path / "closed").chmod(0o311)
    program = (
        "import sys\n"
        "from model_provisioner.fs.folder import Folder\n"
        "folder = Folder.at(sys.argv[1])\n"
        "print(folder.read('x'))\n"
        "try: folder.names()\n"
        "except PermissionError: print('not listed')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "closed")]
    if os.geteuid() == 0:  # who may list whatever its mode
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (tmp_path / "closed").chmod(0o700)
    assert said == "b'known by name'\nnot listed\n"
