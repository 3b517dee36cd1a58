"""Measuring: pairs of processes in turn, and the line of the table that comes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from peers import Peer
    from process import Sample

LONG, FEWER = 20, 3
"""Seconds of a pair from which on there are no more than so many."""
SHORT, TIMES = 1, 4
"""Seconds of a pair below which there are so many times as many: short runs differ most."""


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
    def start_up(self) -> float:
        """The median of the seconds that were taken off ours."""
        return median(ours.start_up for ours, _ in self.samples)

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
        """Measure `count` pairs in turn, fewer where one takes long, more where it is short; one where one is asked for."""
        for prepare in self.prepare:
            prepare()
        began = time.perf_counter()
        samples = [(self.ours(), self.theirs())]
        seconds = time.perf_counter() - began
        count = min(count, FEWER) if seconds > LONG else TIMES * count if seconds < SHORT and count > 1 else count
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
