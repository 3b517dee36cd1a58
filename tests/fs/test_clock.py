"""Which times can be trusted: the racily-clean rule, here and on network file systems."""

import os
import time

import pytest

from model_provisioner.fs import clock
from model_provisioner.fs.identity import Identity, identity_of

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
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "nfs", "9p"])
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


UNSEEN = [
    *("tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs"),
    *("squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs", "fuse.squashfuse", "fuse.squashfuse_ll"),
    *("fuse.erofsfuse", "fuse.fuseiso"),
]


@pytest.mark.parametrize("kind", UNSEEN)
def test_where_bytes_change_and_times_stay_nothing_rests(tmp_path, kind):
    device, mountinfo = mounts(tmp_path, kind)
    status = Identity(device, 1, 1, time.time_ns() - 3600 * SECOND, time.time_ns() - 3600 * SECOND)
    assert clock.unseen_on(str(tmp_path / "m"), device, mountinfo) == kind
    assert not clock.at_rest(str(tmp_path / "m"), status, mountinfo)
    assert not clock.ticked(str(tmp_path / "m"), status, mountinfo)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "nfs", "9p", "fuse.sshfs", "zfs"])
def test_elsewhere_times_move_with_bytes(tmp_path, kind):
    device, mountinfo = mounts(tmp_path, kind)
    assert clock.unseen_on(str(tmp_path / "m"), device, mountinfo) is None


NO_MOUNT = os.makedev(0, 999)
"""The device of a btrfs subvolume, or of a layer of an overlay: no line of the mount table has it."""


@pytest.mark.parametrize(
    ("upper", "lower", "kind"),
    [
        ("ext4", "squashfs", "squashfs"),
        ("tmpfs", "ext4", "tmpfs"),
        ("ext4", "ext4", None),
        ("ext4", "gone", None),  # a container does not see its layers
    ],
)
@pytest.mark.parametrize("options", ["lowerdir={0}:{1},upperdir={2}", "lowerdir+={0},lowerdir+={1},upperdir={2}"])
@pytest.mark.parametrize("device", [os.makedev(0, 77), NO_MOUNT])
def test_an_overlay_is_what_its_layers_are(tmp_path, monkeypatch, upper, lower, kind, options, device):
    """The layers are told apart by a table of their own: no mount is needed for that."""
    layers = [tmp_path / "base", tmp_path / "a lower, one", tmp_path / "upper"]
    for layer in layers:
        layer.mkdir()
    here = tmp_path / "merged"
    numbers = {str(layers[0]): os.makedev(8, 1), str(layers[1]): os.makedev(7, 1), str(layers[2]): os.makedev(8, 2)}

    def stat(path, real=os.stat):
        if lower == "gone" and str(path) == str(layers[1]):
            raise FileNotFoundError
        if str(path) in numbers:
            return os.stat_result((0, 0, numbers[str(path)], *[0] * 7))
        return real(path)

    monkeypatch.setattr(clock.os, "stat", stat)
    named = [str(layer).replace(",", "\\,").replace("\\", "\\134").replace(" ", "\\040") for layer in layers]
    point = str(here).replace(" ", "\\040")
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 1 7:1 / /somewhere rw - {lower} /dev/loop1 ro\n"
        f"24 1 8:2 / /else rw - {upper} none rw\n"
        f"25 1 0:77 / {point} rw - overlay overlay rw,{options.format(*named)},workdir=/w\n"
    )
    assert clock.unseen_on(str(here / "m"), device, str(table)) == kind


@pytest.mark.parametrize(("kind", "unseen"), [("tmpfs", "tmpfs"), ("btrfs", None)])
def test_a_device_that_no_mount_has_is_that_of_the_mount_above_the_path(tmp_path, kind, unseen):
    table = tmp_path / "mountinfo"
    point = str(tmp_path).replace(" ", "\\040")
    table.write_text(
        f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 1 8:3 / {point} rw - xfs none rw\n24 1 8:2 / {point} rw - {kind} none rw\n"
    )
    assert clock.unseen_on(str(tmp_path / "m"), NO_MOUNT, str(table)) == unseen


def test_without_a_mount_table_our_clock_counts(tmp_path):
    assert rests(tmp_path, tmp_path / "none", os.stat(tmp_path).st_dev, mtime=-3 * SECOND)


# ---- the tick of the clock


def identity_of_new(path):
    path.write_text("new")
    return identity_of(str(path))


def test_once_the_clock_ticked_a_write_moves_the_times(tmp_path):
    path = tmp_path / "m"
    for number in range(20):
        written = identity_of_new(path)
        time.sleep(number / 10_000)  # now early, now late in a tick
        clock.let_tick(str(path), written)
        assert clock.ticked(str(path), written)
        path.write_text("old")
        assert identity_of(str(path)).mtime_ns > written.mtime_ns


def test_the_wait_for_a_tick_is_as_long_as_the_tick(tmp_path, monkeypatch):
    """And not as long as the longest that there may be: every run that hands something off waits."""
    waits = []
    monkeypatch.setattr(clock.time, "sleep", waits.append)
    now = time.time_ns()
    ticks = iter((now, now, now, now + 4_000_000))
    monkeypatch.setattr(clock.time, "clock_gettime_ns", lambda _: next(ticks))
    clock.let_tick(str(tmp_path), Identity(os.stat(tmp_path).st_dev, 1, 1, now + 1, now + 1))
    assert len(waits) == 3
    assert next(ticks, None) is None


@pytest.mark.parametrize("kind", ["ext4", "nfs"])
def test_a_time_ahead_of_the_clock_is_not_waited_for(tmp_path, kind):
    device, mountinfo = mounts(tmp_path, kind)
    ahead = time.time_ns() + 3600 * SECOND
    began = time.monotonic()
    clock.let_tick(str(tmp_path / "m"), Identity(device, 1, 1, ahead, ahead), mountinfo)
    assert time.monotonic() - began < 1
    assert not clock.ticked(str(tmp_path / "m"), Identity(device, 1, 1, ahead, ahead), mountinfo)


@pytest.mark.parametrize(
    ("kept", "step"),
    [
        (1_700_000_002 * SECOND, 2 * SECOND),  # FAT
        (1_700_000_001 * SECOND, SECOND),  # HFS+, and ext4 with small inodes
        (1_700_000_001_230_000_000, 10_000_000),  # exFAT
        (1_700_000_001_234_567_000, 1_000),  # UDF
        (1_700_000_001_234_567_800, 100),  # NTFS
        (1_700_000_001_234_567_891, 1),
    ],
)
def test_a_tick_that_the_file_system_does_not_keep_is_none(tmp_path, kept, step, monkeypatch):
    device, mountinfo = mounts(tmp_path, "ext4")
    status = Identity(device, 1, 1, kept, kept)
    for after, has_ticked in ((0, False), (step - 1, False), (step, True)):
        monkeypatch.setattr(clock.time, "clock_gettime_ns", lambda _, after=after: kept + after)
        assert clock.ticked(str(tmp_path / "m"), status, mountinfo) is has_ticked
