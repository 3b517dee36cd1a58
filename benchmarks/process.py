"""One process, and what it took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one piece of work took."""

    seconds: float
    memory: int = 0
    """Bytes, at the peak."""
    read: int | None = None
    """Bytes, by system calls, whether from the disk or the page cache; None where the system does not tell."""
    said: str = ""
    start_up: float = 0
    """Seconds that were taken off."""

    def __sub__(self, other: Sample) -> Sample:
        """Return what is left of this one when the start-up, measured by another, is taken off."""
        return Sample(
            seconds=self.seconds - other.seconds,
            memory=self.memory - other.memory,
            read=None if self.read is None or other.read is None else self.read - other.read,
            start_up=other.seconds,
        )


# What is installed has its bytecode; without it, each run would compile the program anew.
_ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(
    command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None, *, keep: bool = False
) -> Sample:
    """Run a command that must succeed; `keep` what it prints, which goes nowhere else.

    A child's peak memory is never told as less than ours is at its start: nothing here may hold much.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**_ENVIRON, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out if keep else subprocess.DEVNULL,
            stderr=errors,
        )
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - began
        read = _bytes_read(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read().decode()}")
        unit = 1 if os.uname().sysname == "Darwin" else 1024
        return Sample(seconds=seconds, memory=usage.ru_maxrss * unit, read=read, said=out.read().decode())


def _bytes_read(pid: int) -> int | None:
    """Return what a process that has ended, and was not waited for, read; Linux tells."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            return int(file.readline().removeprefix("rchar:"))
    except OSError:
        return None
