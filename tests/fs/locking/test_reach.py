"""How far a lock reaches: to all on a local file system, to one mount of one start of one machine elsewhere."""

import os
import re
import subprocess
import sys

import pytest

from model_provisioner.fs.locking import reach
from model_provisioner.fs.locking.reach import LOCAL, reach_of
from model_provisioner.fs.folder import Folder


@pytest.fixture
def folder(tmp_path):
    with Folder.at(str(tmp_path)) as folder:
        yield folder


@pytest.fixture
def on(folder, monkeypatch):
    """Return a function that tells the reach in the folder, if it lay on this kind of file system."""

    class AnyMount(dict):
        def get(self, _):
            return self["kind"]

    def reach_on(kind, boot="one start"):
        monkeypatch.setattr(reach, "_mounts", lambda: AnyMount(kind=kind))
        monkeypatch.setattr(reach, "boot_id", lambda: boot)
        return reach_of(folder)

    return reach_on


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk"])
def test_on_a_local_file_system_a_lock_reaches_all_of_every_start(on, kind):
    assert on(kind) == on(kind, "another start") == on(kind, None) == LOCAL


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "lustre", "gpfs", "9p", "virtiofs", "fuse.sshfs", "gfs2", "of tomorrow", None]
)
def test_elsewhere_it_reaches_one_start_of_one_machine(on, kind):
    assert re.fullmatch("[0-9a-f]{16}", on(kind))
    assert on(kind) == on(kind)
    assert on(kind) != on(kind, "another start")


def test_elsewhere_it_reaches_one_mount(on, monkeypatch):
    mine = on("nfs4")
    real = os.fstat

    def another_mount(fd):
        found = list(real(fd))
        found[2] += 1
        return os.stat_result(found)

    monkeypatch.setattr(reach.os, "fstat", another_mount)
    assert on("nfs4") != mine


def test_where_nothing_tells_one_start_from_the_next_it_reaches_this_process(on, tmp_path):
    mine = on("nfs4", None)
    assert mine == on("nfs4", None)
    program = (
        "import sys\nfrom model_provisioner.fs.locking import reach\nfrom model_provisioner.fs.folder import Folder\n"
        "reach.boot_id, reach._mounts = (lambda: None), (lambda: {})\n"
        "print(reach.reach_of(Folder.at(sys.argv[1])))"
    )
    other = subprocess.run([sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True).stdout
    assert re.fullmatch("[0-9a-f]{16}\n", other)
    assert other.strip() != mine


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the kinds of mounts")
def test_the_kind_is_that_of_the_mount():
    with Folder.at("/proc") as proc, Folder.at("/dev/shm") as memory:
        assert reach_of(proc) != LOCAL
        assert reach_of(memory) == LOCAL
