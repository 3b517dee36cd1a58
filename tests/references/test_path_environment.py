"""What is asked of the machine: the answers are those of the operating system, and each is kept."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_provisioner.fs.paths import is_any_folder
from model_provisioner.references.path_environment import HERE, Surroundings

STEPS = st.lists(st.sampled_from(["a", "b", "link", "up", "gone", "file", "no such", "..", ".", "", "é"]), max_size=8)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "a" / "b").mkdir(parents=True)
    (root / "file").write_text("")
    for name, target in (
        ("link", "a/b"),
        ("up", ".."),
        ("gone", "nowhere/x"),
        ("a/link", root / "link"),
        ("é", "file"),
    ):
        os.symlink(target, root / name)
    return str(root)


@given(st.lists(STEPS, max_size=6))
@example([["a"], ["..", "..", "..", "..", "..", "..", ".."]])
@example([["a"] * 4000])
def test_folders_lead_where_the_system_says(tree, paths):
    surroundings = Surroundings()
    for steps in paths:
        folder = os.path.join(tree, *steps[:1], "/".join(steps[1:]))
        assert surroundings.ask(folder) == os.path.realpath(folder)
    assert all(os.path.realpath(folder) == real for folder, real in surroundings.answers.items())


@pytest.mark.parametrize("folder", ["/", "//", "///", "//tmp", "/..", "/./"])
def test_the_top_of_the_disk(folder):
    assert Surroundings().ask(folder) == os.path.realpath(folder)


def test_each_question_is_asked_once(tree, monkeypatch):
    surroundings = Surroundings()
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tree)
    assert surroundings.expand("~/x") == "/home/me/x"
    assert surroundings.expand("x~/x") == "x~/x"
    assert surroundings.ask(HERE) == tree
    assert surroundings.ask(f"{tree}/link") == f"{tree}/a/b"
    monkeypatch.setenv("HOME", "/home/other")
    monkeypatch.chdir("/")
    assert surroundings.ask(HERE) == tree
    assert surroundings.answers == {"~": "/home/me", ".": tree, f"{tree}/link": f"{tree}/a/b"}


def test_a_user_that_is_not_there_is_no_home():
    surroundings = Surroundings()
    assert surroundings.absolute("~no such user/x", "/base") == "/base/~no such user/x"
    assert surroundings.answers == {"~no such user": "~no such user"}


@pytest.mark.parametrize("many", [0, 30])
@pytest.mark.parametrize(
    ("name", "is_folder"),
    [("a", True), ("link", True), ("up", True), ("file", False), ("é", False), ("gone", False), ("no such", False)],
)
def test_folders_among_files(tree, many, name, is_folder):
    others = [f"{tree}/other {number}" for number in range(many)]
    assert is_any_folder([*others, f"{tree}/{name}"]) == is_folder
    assert is_any_folder([f"{tree}/no folder/{number}" for number in range(many)]) is False


def test_a_folder_that_can_t_be_listed_is_looked_into(tree, monkeypatch):
    def refuse(folder):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    assert is_any_folder([*(f"{tree}/{number}" for number in range(30)), f"{tree}/a"])


def test_folders_at_the_top_of_the_disk():
    assert is_any_folder(["/tmp"])
    assert is_any_folder([*(f"/no such {number}" for number in range(30)), "/tmp"])
