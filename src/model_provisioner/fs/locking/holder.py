"""Who holds the lock of a file, as Linux tells it: https://man7.org/linux/man-pages/man5/proc_locks.5.html."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass

_LOCK = re.compile(r"\d+: FLOCK +\w+ +\w+ (\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) ")
"""A lock that is held: of those who wait for one, an arrow stands before the kind."""
_BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*|-m|--?[a-z-]+")
"""A word of a command line that can hold no secret: the name of a command, a model or an option."""
_WORDS = 4
"""How many words of a command line are told."""
_MOST = 1 << 20
"""In bytes: more of a file of the kernel is not read."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process of this machine."""

    pid: int
    command: str
    """The first words of its command line, none that may be a secret; empty where they can't be read."""
    is_stopped: bool
    """Whether it was stopped, by Ctrl-Z for instance."""


def holder_of(found: os.stat_result) -> Holder | None:
    """Return a process that holds the lock of a file with this stat; None where none can be told."""
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    for line in _read("/proc/locks").splitlines():
        if (match := _LOCK.match(line)) is None or int(match[3]) != found.st_ino:
            continue
        # The device of a file is not that of its file system on btrfs, for instance.
        pid = int(match[1])
        if match[2] == device or _has_open(pid, found):
            return _process(pid)
    return None


def _has_open(pid: int, found: os.stat_result) -> bool:
    with suppress(OSError):  # it ended, or is another user's
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), found):
                    return True
    return False


def _process(pid: int) -> Holder | None:
    """Return a process; None where it is not seen from here, or ended and left its lock to a child."""
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return Holder(pid, _command_line(pid), state[0] in {"T", "t"}) if state else None


def _command_line(pid: int) -> str:
    program, *words = _read(f"/proc/{pid}/cmdline").split("\0")
    if re.match(r"python[\d.]*$", os.path.basename(program)) and words and words[0].startswith("/"):
        program, *words = words  # a script, which is what the user called
    told = [os.path.basename(program)]
    for word in words[: _WORDS - 1]:
        if not _BARE.fullmatch(word):
            break
        told.append(word)
    return " ".join(told)


def _read(path: str) -> str:
    """Return the beginning of a file of the kernel's, which has no size; empty where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(_MOST).decode(errors="replace")
    except OSError:
        return ""
