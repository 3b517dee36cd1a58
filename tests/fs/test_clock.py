"""Which times can be trusted: the racily-clean rule, here and on network file systems."""

import os
import time

import pytest

from model_provisioner.fs import clock
from model_provisioner.fs.identity import Identity

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


def rests(path, mountinfo, device, *, mtime, ctime=None):
    """Ask for a file whose times lie so many nanoseconds from now."""
    now = time.time_ns()
    status = Identity(device, 1, 1, now + mtime, now + (mtime if ctime is None else ctime))
    return clock.at_rest(str(path / "m"), status, str(mountinfo))


@pytest.mark.parametrize(
    ("mtime", "ctime", "rest"),
    [
        (-3 * SECOND, -3 * SECOND, True),
        (-SECOND, -3 * SECOND, False),
        (-3 * SECOND, -SECOND, False),  # a mode or a link changed, or the mtime was set back
        (-SECOND, -SECOND, False),
        (SECOND, -3 * SECOND, False),
        (9 * SECOND, -3 * SECOND, True),  # a write would take the mtime back to the clock
        (9 * SECOND, -SECOND, False),
        (9 * SECOND, 9 * SECOND, False),
    ],
)
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "nfs", "9p"])
def test_a_file_rests_when_a_later_write_would_move_its_times(tmp_path, kind, mtime, ctime, rest):
    device, mountinfo = mounts(tmp_path, kind)
    assert rests(tmp_path, mountinfo, device, mtime=mtime, ctime=ctime) is rest


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "lustre"])
def test_on_a_network_the_servers_clock_counts_and_nothing_is_left(tmp_path, kind, monkeypatch):
    device, mountinfo = mounts(tmp_path, kind)
    status = Identity(device, 1, 1, time.time_ns() - 3 * SECOND, time.time_ns() - 3 * SECOND)
    monkeypatch.setattr(clock.time, "time_ns", lambda: 0)  # ours is not asked
    assert clock.at_rest(str(tmp_path / "m"), status, mountinfo)
    assert os.listdir(tmp_path) == ["mountinfo"]


@pytest.mark.parametrize(("age", "rest"), [(3600 * SECOND, False), (25 * 3600 * SECOND, True)])
def test_where_the_servers_clock_can_not_be_read_a_file_must_be_a_day_old(tmp_path, age, rest):
    device, mountinfo = mounts(tmp_path, "nfs4")
    assert rests(tmp_path / "no such folder", mountinfo, device, mtime=-age) is rest


def test_without_a_mount_table_our_clock_counts(tmp_path):
    assert rests(tmp_path, tmp_path / "none", os.stat(tmp_path).st_dev, mtime=-3 * SECOND)
