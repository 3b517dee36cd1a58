"""Which times can be trusted: the racily-clean rule, here and on network file systems."""

import os
import time

import pytest

from model_provisioner.artifacts import clock

SECOND = 10**9


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(clock, "_kinds", {})


def mounts(tmp_path, kind):
    device = os.stat(tmp_path).st_dev
    path = tmp_path / "mountinfo"
    path.write_text(
        f"22 1 0:1 / /proc rw - proc proc rw\n23 1 {os.major(device)}:{os.minor(device)} / /data rw shared:1 - {kind} server:/x rw\n"
    )
    return device, str(path)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs"])
def test_here_our_clock_counts(tmp_path, kind):
    device, mountinfo = mounts(tmp_path, kind)
    limit = clock.settled_before(str(tmp_path / "m"), device, mountinfo)
    assert 0 <= time.time_ns() - 2 * SECOND - limit < SECOND


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "lustre"])
def test_on_a_network_the_servers_clock_counts_and_nothing_is_left(tmp_path, kind, monkeypatch):
    device, mountinfo = mounts(tmp_path, kind)
    monkeypatch.setattr(clock.time, "time_ns", lambda: 0)  # ours is not asked
    limit = clock.settled_before(str(tmp_path / "m"), device, mountinfo)
    assert abs(os.stat(mountinfo).st_mtime_ns - 2 * SECOND - limit) < 5 * SECOND
    assert os.listdir(tmp_path) == ["mountinfo"]


def test_where_the_servers_clock_can_not_be_read_a_file_must_be_a_day_old(tmp_path):
    device, mountinfo = mounts(tmp_path, "nfs4")
    limit = clock.settled_before(str(tmp_path / "no such folder" / "m"), device, mountinfo)
    assert 0 <= time.time_ns() - 24 * 3600 * SECOND - limit < SECOND


def test_without_a_mount_table_our_clock_counts(tmp_path):
    limit = clock.settled_before(str(tmp_path / "m"), os.stat(tmp_path).st_dev, str(tmp_path / "none"))
    assert 0 <= time.time_ns() - 2 * SECOND - limit < SECOND
