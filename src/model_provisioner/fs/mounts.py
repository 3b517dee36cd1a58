"""The mount table of this process, as Linux tells it: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTINFO = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """A line of the mount table."""

    number: str
    """Its own, which no other mount has."""
    device: str
    """The number of its file system, as MAJOR:MINOR."""
    point: str
    """The folder that it is mounted on."""
    kind: str
    """The kind of its file system: ext4, tmpfs."""
    options: str
    """Those of its file system, in one text."""


def mounts(mountinfo: str = MOUNTINFO) -> Iterator[Mount]:
    """Yield the lines of a mount table, a later mount over another one after that. Raises `OSError`: macOS has no such file."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, dash, right = line.rstrip("\n").partition(" - ")
            fields, kind = left.split(" "), right.split(" ")
            if dash and len(fields) > 4:
                yield Mount(fields[0], fields[2], _unescaped(fields[4]), kind[0], _unescaped(kind[-1]))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
