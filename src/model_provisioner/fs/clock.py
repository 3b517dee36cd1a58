"""Since when a file's times can be trusted to move with its bytes: git's "racily clean" rule.

A write that follows another within one tick of the file system's clock leaves the times as they were. So a file whose
times lie within `MARGIN_NS` of the moment when its reading began may still change unseen.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_provisioner.fs.identity import Identity

MARGIN_NS = 2_000_000_000
UNKNOWN_CLOCK_MARGIN_NS = 24 * 3600 * 1_000_000_000

_NETWORK = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "beegfs", "gpfs", "afs", "virtiofs")


PROBE = ".model-provisioner-clock-"
"""How the names of our temp files begin; they are no part of a model."""


TICK_NS = 20_000_000
"""More than the time between two ticks of a local file system's clock."""


def ticked(path: str, status: Identity, mountinfo: str = "/proc/self/mountinfo") -> bool:
    """Tell whether a write after this moment would move the times in `status`, of a file whose content is known by now."""
    now, margin = _clock(path, status.device, mountinfo)
    return max(status.ctime_ns, status.mtime_ns) < now - (margin if margin == UNKNOWN_CLOCK_MARGIN_NS else TICK_NS)


def at_rest(path: str, status: Identity, mountinfo: str = "/proc/self/mountinfo") -> bool:
    """Tell whether the times in `status`, which the file at `path` has now, would move with any later write to it.

    On a network file system another machine's clock sets the times: it is read from a fresh temp file beside the model;
    where none can be made, only files that are a day old are taken as settled.
    """
    now, margin = _clock(path, status.device, mountinfo)
    # A write sets mtime to the clock: one that lies ahead of the clock would not stay there.
    ahead = status.mtime_ns > now + margin
    return status.ctime_ns < now - margin and (status.mtime_ns < now - margin or ahead)


def _clock(path: str, device: int, mountinfo: str) -> tuple[int, int]:
    """Return the time of the file system's clock and how far it can be trusted, both in nanoseconds."""
    if not _is_network(device, mountinfo):
        return time.time_ns(), MARGIN_NS
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=PROBE) as probe:
            return os.fstat(probe.fileno()).st_mtime_ns, MARGIN_NS
    except OSError:
        return time.time_ns(), UNKNOWN_CLOCK_MARGIN_NS


_kinds: dict[int, bool] = {}


def _is_network(device: int, mountinfo: str) -> bool:
    if device not in _kinds:
        _kinds[device] = _read_kind(device, mountinfo)
    return _kinds[device]


def _read_kind(device: int, mountinfo: str) -> bool:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(mountinfo, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:  # macOS has no such file, and no network home by default
        return False
    for line in lines:
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if dash and len(fields) > 2 and fields[2] == wanted:
            return right.split(" ")[0].startswith(_NETWORK)
    return False
