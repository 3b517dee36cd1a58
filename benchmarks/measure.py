"""Measuring: a process, pairs of them in turn, and the line of the table that comes of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from peers import Peer

LONG, FEWER = 20, 3
"""Seconds of a pair from which on there are no more than so many."""
SHORT, TIMES = 1, 4
"""Seconds of a pair below which there are so many times as many: short runs differ most."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one piece of work took."""

    seconds: float
    memory: int = 0
    """Bytes, at the peak."""
    read: int | None = None
    """Bytes, by system calls, whether from the disk or the page cache; None where the system does not tell."""
    said: str = ""

    def __sub__(self, other: Sample) -> Sample:
        """Return what is left of this one when the start-up, measured by another, is taken off."""
        return Sample(
            seconds=self.seconds - other.seconds,
            memory=self.memory - other.memory,
            read=None if self.read is None or other.read is None else self.read - other.read,
        )


@dataclass(frozen=True)
class Pairs:
    """What was measured in turn: ours and theirs."""

    samples: Sequence[tuple[Sample, Sample]]

    @property
    def ours(self) -> float:
        """The median of our seconds."""
        return median(ours.seconds for ours, _ in self.samples)

    @property
    def theirs(self) -> float:
        """The median of the other's seconds."""
        return median(theirs.seconds for _, theirs in self.samples)

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs: what slows the machine for a while slows both."""
        return median(ours.seconds / theirs.seconds for ours, theirs in self.samples)

    @property
    def more(self) -> float:
        """The median of the seconds that ours took more."""
        return median(ours.seconds - theirs.seconds for ours, theirs in self.samples)

    @property
    def memory(self) -> int:
        """The largest memory of ours."""
        return max(ours.memory for ours, _ in self.samples)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row of the table: ours against a peer or a limit."""

    what: str
    against: str
    reach: str = ""
    """What the ratio is to be, and what else."""
    prepare: Sequence[Callable[[], object]] = ()
    """Make what both need; done once, not measured, and only if the row is asked for."""
    ours: Callable[[], Sample]
    theirs: Callable[[], Sample]
    notes: Callable[[Pairs], str] = lambda _: ""
    needs: tuple[Peer, ...] = ()

    def measure(self, count: int) -> Pairs:
        """Measure `count` pairs in turn, fewer where one takes long, more where it is short."""
        for prepare in self.prepare:
            prepare()
        began = time.perf_counter()
        samples = [(self.ours(), self.theirs())]
        seconds = time.perf_counter() - began
        count = min(count, FEWER) if seconds > LONG else TIMES * count if seconds < SHORT else count
        samples += [(self.ours(), self.theirs()) for _ in range(count - 1)]
        return Pairs(samples)

    def row(self, count: int) -> str:
        """Measure, and return the line of the table."""
        pairs = self.measure(count)
        other = "" if len(pairs.samples) == count else f"{len(pairs.samples)} pairs"
        notes = "; ".join(note for note in (self.notes(pairs), other) if note)
        return (
            f"| {self.what} | {pairs.ours:.3f} s | {self.against} | {pairs.theirs:.3f} s "
            f"| {pairs.ratio:.3g} | {self.reach} | {notes} |"
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
