"""Folders held by descriptor: where their path leads meanwhile does not matter, and no link below a root is followed."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_provisioner.fs.read import NotOursError
from model_provisioner.fs.root import ANYWHERE, KEPT, Folder, PrivateFolder, Root, Roots


@pytest.fixture
def folder(tmp_path):
    return Folder.at(str(tmp_path))


@pytest.fixture
def root(tmp_path):
    with Root(str(tmp_path / "root")) as root:
        yield root


def descriptors():
    return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"))


def planted(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x").write_bytes(b"precious")
    return tmp_path / "victim"


# ---- a folder


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


def test_a_path_lies_below_the_innermost_of_its_roots(tmp_path):
    for folder in ("a/b", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a/b/x").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a/link").symlink_to("b")
    with Roots(f"{tmp_path}/link", f"{tmp_path}/a/link", "/") as roots:
        assert roots.read(f"{tmp_path}/link/b/x") == b"x", "a root may be a link"
        assert roots.read(f"{tmp_path}/a/link/x") == b"x", "also one below another"
        assert roots.read(f"{tmp_path}/link/link/x") is None
        assert roots.read(f"{tmp_path}/a/b/x") == b"x"
        with pytest.raises(NotOursError):
            roots.make(f"{tmp_path}/link/link/deep")
        assert roots.make(f"{tmp_path}/link/c/d").path == f"{tmp_path}/link/c/d"
        assert roots.folder("/").names() == sorted(os.listdir("/"))
    assert sorted(os.listdir(tmp_path / "a/b")) == ["x"]


def test_what_lies_below_no_root_lies_in_a_root_of_its_own(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with ANYWHERE.anew() as roots:
        roots.make(f"{tmp_path}/link").write("x", b"x", sync=False)
        assert roots.read(f"{tmp_path}/a/x") == b"x"


def test_a_folder_that_is_held_is_the_one_at_its_path_again_when_it_is_let_go(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"old")
    with Roots(str(tmp_path)) as roots:
        assert roots.read(f"{tmp_path}/a/x") == b"old"
        os.rename(tmp_path / "a", tmp_path / "moved")
        (tmp_path / "a").mkdir()
        (tmp_path / "a/x").write_bytes(b"new")
        assert roots.read(f"{tmp_path}/a/x") == b"old"
        roots.let_go()
        assert roots.read(f"{tmp_path}/a/x") == b"new"


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
        "from model_provisioner.fs.root import Folder\n"
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


# ---- a root


def test_a_root_may_be_reached_by_links_and_below_it_none_is_followed(tmp_path, root):
    victim = planted(tmp_path)
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "root")
    root.make("a/b").write("x", b"", sync=False)
    assert (tmp_path / "real/a/b/x").exists()
    os.symlink(victim, tmp_path / "real/planted")
    with pytest.raises(OSError):
        root.folder("planted")
    with pytest.raises(NotOursError) as caught:
        root.make("planted/sub")
    assert (caught.value.filename, caught.value.strerror) == (f"{root.path}/planted", f"a link to {victim}")
    assert os.listdir(victim) == ["x"]


def test_folders_are_made_with_those_above(tmp_path):
    with Root(str(tmp_path / "x/y")) as root:
        with pytest.raises(FileNotFoundError):
            root.folder("a")
        assert root.make("a/b/c").path == f"{tmp_path}/x/y/a/b/c"
        assert root.folder("a/b").names() == ["c"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path, root):
    root.make().write("a", b"", sync=False)
    for name in ("a", "a/b"):
        with pytest.raises(NotADirectoryError):
            root.make(name)


def test_folders_are_opened_once_and_kept_in_a_bounded_number(root):
    for number in range(10):
        root.make(f"{number}")
    assert root.folder("3") is root.folder("3")
    before = descriptors()
    for number in range(3 * KEPT):
        root.make(f"{number}")
    assert descriptors() - before <= KEPT
    root.close()
    assert descriptors() < before
    assert root.folder("3").names() == []


def test_a_folder_that_was_closed_is_not_another_one(root):
    """Its descriptor may be that of something else by now."""
    folder = root.make("a")
    root.close()
    folder.close()
    with open(root.path + "/a/x", "wb"), pytest.raises(OSError):
        folder.unlink("x")
    assert root.folder("a").names() == ["x"]


def test_a_folder_that_is_no_longer_kept_can_be_used_by_who_has_it(tmp_path):
    with Root(str(tmp_path), kept=1) as root:
        first = root.make("first")
        root.make("second")
        first.write("x", b"1", sync=False)
    assert first.read("x") == b"1"


@pytest.mark.parametrize("name", ["", "a", "a/b"])
def test_a_folder_that_was_removed_is_opened_or_made_anew(root, name):
    root.make("a/b")
    Folder.at(os.path.dirname(root.path)).remove_all("root")
    with pytest.raises(FileNotFoundError):
        root.folder(name)
    root.make(name).write("x", b"", sync=False)
    assert os.path.exists(os.path.join(root.path, name, "x"))


def test_threads_share_a_root(tmp_path):
    wrong = []
    with Root(str(tmp_path), kept=2) as root:

        def work(mine):
            for number in range(200):
                name = f"{number % 7}"
                root.make(name).write(f"{mine}-{number}", b"", sync=False)
                if not (tmp_path / name / f"{mine}-{number}").exists():
                    wrong.append((mine, number))

        threads = [threading.Thread(target=work, args=(mine,)) for mine in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
