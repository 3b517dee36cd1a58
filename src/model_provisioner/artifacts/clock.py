"""Since when a file's times can be trusted to move with its bytes: git's "racily clean" rule.

A write that follows another within one tick of the file system's clock leaves the times as they were. So a file whose
times lie within `MARGIN_NS` of the moment when its reading began may still change unseen.
"""

from __future__ import annotations

import os
import tempfile
import time

MARGIN_NS = 2_000_000_000
UNKNOWN_CLOCK_MARGIN_NS = 24 * 3600 * 1_000_000_000

_NETWORK = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "beegfs", "gpfs", "afs", "virtiofs")


def settled_before(path: str, device: int, mountinfo: str = "/proc/self/mountinfo") -> int:
    """Return the time, in nanoseconds, that a file's times must lie before for its row to be settled.

    On a network file system another machine's clock sets the times: it is read from a fresh temp file beside the model;
    where none can be made, only files that are a day old are taken as settled.
    """
    if not _is_network(device, mountinfo):
        return time.time_ns() - MARGIN_NS
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".model-provisioner-clock-") as probe:
            return os.fstat(probe.fileno()).st_mtime_ns - MARGIN_NS
    except OSError:
        return time.time_ns() - UNKNOWN_CLOCK_MARGIN_NS


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
