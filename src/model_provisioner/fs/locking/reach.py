"""How far the kernel's locks in a folder reach: all who can write there, or only one mount of one host.

A network file system may keep flock to the host (NFS with `local_lock`, Lustre with `localflock`), and FUSE keeps it to
the mount. That can't be asked, so there nobody is believed to see our locks but who shares kernel and mount with us.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.fs.mounts import mounts
from model_provisioner.fs.read import read_if_there

if TYPE_CHECKING:
    from model_provisioner.fs.folder import Folder

LOCAL = "local"
"""The reach of locks on a file system that one kernel at a time has mounted: they reach all who can write there."""

_LOCAL_KINDS = {
    *("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "reiserfs", "xfs", "zfs"),
    *("ramfs", "rootfs", "tmpfs"),
    *("exfat", "fuseblk", "hfs", "hfsplus", "minix", "msdos", "ntfs", "ntfs3", "udf", "ufs", "vfat"),
}
"""Named one by one: of a kind that is not known here, others may have it mounted, too."""


def reach_of(folder: Folder) -> str:
    """Return what two programs get alike if and only if their locks in the folder meet: `LOCAL`, or 16 hexadecimal digits.

    Raises `OSError`.
    """
    fd = folder.listed()
    try:
        device = os.fstat(fd).st_dev
        kind = _kind_of(fd)
    finally:
        os.close(fd)
    if kind in _LOCAL_KINDS:
        return LOCAL
    if sys.platform != "linux":  # it tells neither kinds nor starts: the machine's name, for want of better
        return _digest(f"{sys.platform} {os.uname().nodename}")
    if (boot := boot_id()) is None:
        return _nobody_else()
    return _digest(f"{boot} {device}")  # a device number is that of one mount, and of no other before the next start


@functools.cache
def boot_id() -> str | None:
    """Return what tells one start of this machine from the next, and it from others; None where nothing does."""
    return (read_if_there("/proc/sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip() or None


def _kind_of(fd: int) -> str | None:
    """Return the kind of file system that an open folder lies on; None where that can't be told.

    By the number of the mount: the device number of a folder on btrfs or overlay is not that of its mount.
    """
    about = (read_if_there(f"/proc/self/fdinfo/{fd}") or b"").decode("ascii", "replace").split()
    return _mounts().get(about[about.index("mnt_id:") + 1]) if "mnt_id:" in about else None


def _mounts() -> dict[str, str]:
    """Return the kind of each mount, by its number."""
    with suppress(OSError):
        return {mount.number: mount.kind for mount in mounts()}
    return {}


@functools.cache
def _nobody_else() -> str:
    return secrets.token_hex(8)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
