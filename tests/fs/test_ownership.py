"""Whose a file is."""

import os

import pytest

from model_provisioner.fs.ownership import other_owner, user
from tests.support.users import as_root

OTHER = 1001


def test_what_is_the_users_or_not_there_has_no_other_owner(tmp_path):
    (tmp_path / "nowhere").symlink_to("gone")
    assert [other_owner(str(path)) for path in (tmp_path, tmp_path / "gone", tmp_path / "nowhere")] == [None] * 3


def test_what_is_roots_is_nobody_elses():
    assert other_owner("/") is None


@as_root
def test_what_is_another_users(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert other_owner(str(tmp_path / "link")) is None
    os.chown(tmp_path / "file", OTHER, OTHER)
    assert [other_owner(str(tmp_path / name)) for name in ("file", "link")] == [OTHER, OTHER]


@as_root
def test_a_link_is_judged_though_what_it_leads_to_is_the_users(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.chown(tmp_path / "link", OTHER, OTHER, follow_symlinks=False)
    assert other_owner(str(tmp_path / "link")) == OTHER


@as_root
@pytest.mark.parametrize(("caller", "owner"), [(str(OTHER), None), ("1002", OTHER), ("-1", OTHER), ("", OTHER)])
def test_the_files_of_who_called_sudo_are_the_users(tmp_path, monkeypatch, caller, owner):
    os.chown(tmp_path, OTHER, OTHER)
    assert other_owner(str(tmp_path), {"SUDO_UID": caller}) == owner
    monkeypatch.setattr(os, "geteuid", lambda: 1002)
    assert other_owner(str(tmp_path), {"SUDO_UID": caller}) == OTHER  # only root came by sudo with the right to all


def test_a_user_is_named_where_it_has_a_name():
    assert (user(0), user(2**31 - 7)) == ("root (uid 0)", "uid 2147483641")
