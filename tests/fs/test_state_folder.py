"""The state folder: whose it is, and where."""

import os

import pytest

from model_provisioner.fs.state_folder import (
    check_state_folder,
    ensure_state_folder,
    is_private,
    project_folder,
    state_folder,
)
from model_provisioner.errors import StorageError


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"MODEL_PROVISIONER_STATE_DIR": "/s", "XDG_STATE_HOME": "/x"}, "/s"),
        ({"MODEL_PROVISIONER_STATE_DIR": "~/s"}, "HOME/s"),
        ({"XDG_STATE_HOME": "/x"}, "/x/model-provisioner"),
        ({"XDG_STATE_HOME": "relative"}, "HOME/.local/state/model-provisioner"),
        ({"XDG_STATE_HOME": ""}, "HOME/.local/state/model-provisioner"),
        ({}, "HOME/.local/state/model-provisioner"),
    ],
)
def test_where_it_is(environ, folder):
    assert state_folder(environ=environ) == folder.replace("HOME", os.path.expanduser("~"))


@pytest.mark.parametrize("named", ["state", "./state", "../state", "~nobody-at-all/state"])
def test_a_path_that_depends_on_the_working_directory_is_refused(named):
    with pytest.raises(StorageError) as caught:
        state_folder(environ={"MODEL_PROVISIONER_STATE_DIR": named})
    assert str(caught.value) == (
        "the state folder has no absolute path\n"
        f"  where     {named}\n"
        "  expected  an absolute path, or one below a home that is known\n"
        "  found     a path that means another folder in every working directory\n"
        "  fix       set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own"
    )


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_it_is_made_for_the_user_alone(tmp_path, umask):
    """And so are the folders above it that were not there."""
    folder = tmp_path / "a" / "b" / "state"
    before = os.umask(umask)
    try:
        ensure_state_folder(str(folder))
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (folder, *folder.parents[:2])] == [0o700] * 3
    ensure_state_folder(str(folder))


@pytest.mark.parametrize("place", ["", "state", "a/state", "link/state"])
def test_one_in_the_project_is_refused(tmp_path, place):
    project = tmp_path / "project"
    project.mkdir()
    (project / "link").symlink_to(".")
    folder = os.path.join(project, place).rstrip("/")
    with pytest.raises(StorageError) as caught:
        state_folder(str(project), {"MODEL_PROVISIONER_STATE_DIR": folder})
    assert str(caught.value) == (
        "the state folder lies in the project, where any commit may fill it\n"
        f"  where     {folder}\n"
        f"  expected  a folder outside {project}\n"
        "  found     one inside\n"
        "  fix       set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own, outside the project"
    )


def test_one_beside_the_project_is_not_in_it(tmp_path):
    folder = f"{tmp_path}/project-state"
    assert state_folder(f"{tmp_path}/project", {"MODEL_PROVISIONER_STATE_DIR": folder}) == folder
    assert state_folder(f"{tmp_path}/project-state/project", {"MODEL_PROVISIONER_STATE_DIR": folder}) == folder


@pytest.mark.parametrize("project", ["home", ""])
@pytest.mark.parametrize(
    "variable",
    [{}, {"XDG_STATE_HOME": "HOME/state"}, {"MODEL_PROVISIONER_STATE_DIR": "~/.local/state/model-provisioner"}],
)
def test_the_default_one_may_lie_in_the_home_though_that_is_a_project(tmp_path, monkeypatch, project, variable):
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    environ = {name: value.replace("HOME", f"{tmp_path}/home") for name, value in variable.items()}
    assert state_folder(str(tmp_path / project), environ).startswith(f"{tmp_path}/home/")
    with pytest.raises(StorageError, match="lies in the project"):
        state_folder(str(tmp_path / project), {"MODEL_PROVISIONER_STATE_DIR": f"{tmp_path}/home/elsewhere"})


def test_the_default_one_may_not_lie_in_a_project_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match="lies in the project"):
        state_folder(f"{tmp_path}/.local", {})


def test_it_may_be_reached_through_links_of_the_users_own(tmp_path):
    real = tmp_path / "disk" / "state"
    real.mkdir(parents=True)
    (tmp_path / "way").symlink_to("./disk/../disk")
    (tmp_path / "link").symlink_to(tmp_path / "way" / "state")
    for folder in (f"{tmp_path}/link", f"{tmp_path}/way/state", f"{tmp_path}/way/to/make"):
        assert state_folder(environ={"MODEL_PROVISIONER_STATE_DIR": folder}) == folder
    real.chmod(0o770)
    with pytest.raises(StorageError, match="can be written by others"):
        check_state_folder(f"{tmp_path}/link")


def test_a_link_that_leads_in_a_circle_is_told(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(StorageError) as caught:
        check_state_folder(f"{tmp_path}/link")
    assert (caught.value.what, caught.value.found) == (
        "the state folder can't be looked at",
        "Too many levels of symbolic links",
    )


@pytest.mark.parametrize("above", ["a", "a/b"])
def test_what_anybody_may_replace_is_refused(tmp_path, above):
    folder = tmp_path / "a" / "b" / "state"
    folder.mkdir(parents=True)
    (tmp_path / above).chmod(0o777)
    with pytest.raises(StorageError) as caught:
        check_state_folder(str(folder))
    assert str(caught.value) == (
        "anybody may put another folder in the place of the state folder\n"
        f"  where     {tmp_path / above}\n"
        "  expected  a folder that not everybody may write, or one with the sticky bit\n"
        "  found     mode 0777\n"
        f"  fix       chmod +t {tmp_path / above}, or set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of"
        " your own elsewhere"
    )
    (tmp_path / above).chmod(0o1777)
    check_state_folder(str(folder))


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: os.mkfifo(path)], ids=["file", "FIFO"])
def test_what_is_no_folder_is_refused(tmp_path, make):
    make(tmp_path / "state")
    with pytest.raises(StorageError, match="the state folder is no folder"):
        check_state_folder(str(tmp_path / "state"))


def test_one_that_is_not_there_is_fine(tmp_path):
    check_state_folder(str(tmp_path / "none"))
    check_state_folder(str(tmp_path / "none" / "below"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o755, True), (0o770, False), (0o702, False)])
def test_what_others_can_write_is_not_private(tmp_path, mode, private):
    tmp_path.chmod(mode)
    assert is_private(str(tmp_path)) == private
    assert not is_private(str(tmp_path / "gone"))


def test_what_others_own_is_not_private(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not is_private(str(tmp_path))


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_one_that_others_can_write_is_refused(tmp_path, mode):
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError) as caught:
        ensure_state_folder(str(folder))
    assert str(caught.value) == (
        "the state folder can be written by others\n"
        f"  where     {folder}\n"
        "  expected  mode 0700\n"
        f"  found     mode {mode:04o}\n"
        f"  fix       chmod 700 {folder}"
    )


def test_one_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StorageError) as caught:
        ensure_state_folder(str(tmp_path))
    assert caught.value.what == "the state folder belongs to somebody else"


def test_a_file_in_its_place_is_told(tmp_path):
    (tmp_path / "state").touch()
    with pytest.raises(StorageError) as caught:
        ensure_state_folder(str(tmp_path / "state"))
    assert caught.value.what == "the state folder can't be made"
    assert caught.value.fix == "set MODEL_PROVISIONER_STATE_DIR to a folder of your own on a local disk"


def test_a_project_is_known_by_its_real_folder(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "link").symlink_to("p")
    assert project_folder("/s", str(tmp_path / "p")) == project_folder("/s", str(tmp_path / "link"))
    assert project_folder("/s", str(tmp_path / "p")) != project_folder("/s", str(tmp_path))
