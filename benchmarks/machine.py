"""The machine, in a line, without a name of it."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def cores() -> int:
    """Return how many cores may be used."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(folder: Path) -> str:
    """Return what the times depend on; `folder` is where the files lie."""
    count = cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = re.match(r"[\d.]*\d", platform.release())  # what follows may name the machine
    return ", ".join(
        (
            f"{count} core{'' if count == 1 else 's'} of {_processor()}",
            f"{memory / 1e9:.0f} GB of memory",
            f"{platform.system()} {kernel[0] if kernel else ''}".strip(),
            f"files on {_file_system(folder)}",
            f"Python {platform.python_version()}",
            f"doit {version('doit')}",
        )
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder, as Linux knows it."""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return "a file system that can't be told"
    path = f"{folder.resolve()}/"
    holding = [(len(point), kind) for point, kind in mounts if path.startswith(f"{point.rstrip('/')}/")]
    # The last one of the longest: it was mounted over the others.
    return max(reversed(holding), key=lambda found: found[0])[1]
