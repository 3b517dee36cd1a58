"""Since when a file's times can be trusted to move with its bytes: git's "racily clean" rule, and where they never can.

A write that follows another within one tick of the file system's clock leaves the times as they were. So a file whose
times lie within `MARGIN_NS` of the moment when its reading began may still change unseen. In memory, and in images that
another one with equal times may replace, a file may always change unseen.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from model_provisioner.fs.mounts import MOUNTINFO, mounts

if TYPE_CHECKING:
    from model_provisioner.fs.identity import Identity

MARGIN_NS = 2_000_000_000
UNKNOWN_CLOCK_MARGIN_NS = 24 * 3600 * 1_000_000_000

_NETWORK = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "beegfs", "gpfs", "afs", "virtiofs")

_UNSEEN = frozenset(
    (
        # A store through an old shared mapping moves no time.
        *("tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs"),
        # Whoever makes the image chooses its times, and another one may be mounted in its place.
        *("squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs"),
        *("fuse.squashfuse", "fuse.squashfuse_ll", "fuse.erofsfuse", "fuse.fuseiso"),
    )
)
"""File systems on which bytes may change while every time stays as it was."""


PROBE = ".model-provisioner-clock-"
"""How the names of our temp files begin; they are no part of a model."""


TICK_NS = 20_000_000
"""More than the time between two ticks of a file system's clock, for where that clock can't be read."""

_COARSE_CLOCK = 5
"""Linux's CLOCK_REALTIME_COARSE, which Python has no name for: with it a local file system times what is written."""

_STEPS_NS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000, 100, 1)
"""The steps in which file systems keep times: FAT, HFS+ and old ext3, exFAT, UDF, NTFS, all others."""


def unseen_on(path: str, device: int, mountinfo: str = MOUNTINFO) -> str | None:
    """Return what the file system of the file at `path` is called, if bytes on it may change while every time stays.

    None for all others. An overlay is what its layers are, as far as they can be looked at.
    """
    kind = _kind(path, device, mountinfo)
    return kind if kind in _UNSEEN else None


def ticked(path: str, status: Identity, mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether a write after this moment would move the times in `status`, of a file whose content is known by now."""
    if unseen_on(path, status.device, mountinfo) is not None:
        return False
    last = max(status.ctime_ns, status.mtime_ns)
    if not _is_far(path, status.device, mountinfo):
        return _has_ticked_since(last)
    now, margin = _clock(path, status.device, mountinfo)
    return last < now - (margin if margin == UNKNOWN_CLOCK_MARGIN_NS else TICK_NS)


def let_tick(path: str, status: Identity, mountinfo: str = MOUNTINFO) -> None:
    """Wait until a write would move the times in `status`, at most `TICK_NS`: they may lie ahead of the clock."""
    last = max(status.ctime_ns, status.mtime_ns)
    is_far = _is_far(path, status.device, mountinfo)
    end = time.monotonic_ns() + TICK_NS
    while time.monotonic_ns() < end and not (last < time.time_ns() - TICK_NS if is_far else _has_ticked_since(last)):
        time.sleep(0.001)


def _has_ticked_since(last: int) -> bool:
    """Tell whether a local file system that kept `last` as a time would keep a later one now, whatever its steps are."""
    step = next(each for each in _STEPS_NS if last % each == 0)
    now = time.clock_gettime_ns(_COARSE_CLOCK) if sys.platform == "linux" else time.time_ns() - TICK_NS
    return now >= last + step


def at_rest(path: str, status: Identity, mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether the times in `status`, which the file at `path` has now, would move with any later write to it.

    On a network file system another machine's clock sets the times: it is read from a fresh temp file beside the model;
    where none can be made, only files that are a day old are taken as settled.
    """
    if unseen_on(path, status.device, mountinfo) is not None:
        return False
    now, margin = _clock(path, status.device, mountinfo)
    # A write sets mtime to the clock: one that lies ahead of the clock would not stay there.
    ahead = status.mtime_ns > now + margin
    return status.ctime_ns < now - margin and (status.mtime_ns < now - margin or ahead)


def _clock(path: str, device: int, mountinfo: str) -> tuple[int, int]:
    """Return the time of the file system's clock and how far it can be trusted, both in nanoseconds."""
    if not _is_far(path, device, mountinfo):
        return time.time_ns(), MARGIN_NS
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=PROBE) as probe:
            return os.fstat(probe.fileno()).st_mtime_ns, MARGIN_NS
    except OSError:
        return time.time_ns(), UNKNOWN_CLOCK_MARGIN_NS


def _is_far(path: str, device: int, mountinfo: str) -> bool:
    """Tell whether another machine's clock, or another program's, may set the times of a file."""
    return _kind(path, device, mountinfo).startswith(_NETWORK)


_kinds: dict[int, str] = {}


def _kind(path: str, device: int, mountinfo: str) -> str:
    """Return the kind of the file system that a file lies on, empty where that is not known."""
    if device not in _kinds:
        _kinds[device] = _read_kind(path, device, mountinfo)
    return _kinds[device]


def _read_kind(path: str, device: int, mountinfo: str) -> str:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounted = list(mounts(mountinfo))
    except OSError:  # macOS has no such file, and no network home by default
        return ""
    found = next((mount for mount in mounted if mount.device == wanted), None)
    if found is None:  # subvolumes, and layers of an overlay, have numbers of their own that no mount has
        real = os.path.realpath(path)
        above = [mount for mount in mounted if real.startswith(mount.point.rstrip("/") + "/")]
        found = max(reversed(above), key=lambda mount: len(mount.point), default=None)
    if found is None:
        return ""
    if found.kind == "overlay":
        for layer in _layers(found.options):
            try:
                below = os.stat(layer).st_dev
            except OSError:  # a container does not see the layers that it is made of
                continue
            if below != device and (kind := _read_kind(f"{layer}/.", below, mountinfo)) in _UNSEEN:
                return kind
    return found.kind


def _layers(options: str) -> list[str]:
    """Return the folders that an overlay is made of, by the options of its mount."""
    named = re.findall(r"(?:^|,)(?:lowerdir\+?|upperdir|datadir\+)=((?:\\.|[^,\\])*)", options)
    return [layer.replace("\\", "") for each in named for layer in re.split(r"(?<!\\):+", each) if layer]
