"""Roots: what lies below one is reached folder by folder, and no link on the way is followed."""

import os
import sys
import threading

import pytest

from model_provisioner.fs.read import NotOursError
from model_provisioner.fs.folder import Folder
from model_provisioner.fs.root import ANYWHERE, KEPT, Root, Roots


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
