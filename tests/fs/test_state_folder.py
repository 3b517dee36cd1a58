"""The state folder: whose it is, and where."""

import os

import pytest

from model_provisioner.fs.state_folder import ensure_state_folder, is_private, project_folder, state_folder
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


def test_it_is_made_for_the_user_alone(tmp_path):
    folder = tmp_path / "a" / "state"
    ensure_state_folder(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    ensure_state_folder(str(folder))


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
