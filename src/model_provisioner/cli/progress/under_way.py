"""What is under way in a run, as its events tell: how many models and bytes are done, how fast, and what is left."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from model_provisioner.cli.columns import columns, cut, shortened
from model_provisioner.engine.events import (
    BytesRead,
    FetchBegins,
    FetchEnded,
    FetchReached,
    ModelEnded,
    ReadingBegins,
    WorkBegins,
)
from model_provisioner.errors import printable
from model_provisioner.units import duration, human, human_of

if TYPE_CHECKING:
    from model_provisioner.engine.events import Event

WINDOW = 5.0
"""Over how many seconds a rate is taken."""


class Rate:
    """How fast a count grows."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def reach(self, count: int) -> None:
        """Note that the count is `count` now; one that is less than before begins anew."""
        now = time.monotonic()
        if count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """Bytes a second; 0 before that can be told."""
        (began, first), (_, last) = self._seen[0], self._seen[-1]
        seconds = time.monotonic() - began
        return (last - first) / seconds if seconds > 0 else 0.0


class Part:
    """A model that is read or fetched."""

    def __init__(self, what: str, size: int | None) -> None:
        self.what, self.size, self.done, self.rate = what, size, 0, Rate()
        self.since = time.monotonic()

    def reach(self, done: int) -> None:
        """Note that so many of its bytes are done."""
        self.done = done
        self.rate.reach(done)

    @property
    def told(self) -> str:
        """How far it is, in words; where nothing came yet, for how long: a worker tells of a file when it has read it all."""
        if self.done:
            return told(self.done, self.size, self.rate.per_second)
        size = "" if self.size is None else f"{human(self.size)}, "
        return f"{size}{duration(time.monotonic() - self.since)} so far"


class UnderWay:
    """All that is under way. Takes each event; is asked by one thread at a time."""

    def __init__(self) -> None:
        self.models = self.ended = 0
        self.parts: dict[str, Part] = {}
        """The models that are read or fetched, by name."""
        self.rate = Rate()
        self._planned = self._begun = self.done = 0

    def take(self, event: Event) -> None:
        """Note what an event tells."""
        match event:
            case WorkBegins(models, size):
                self.models, self._planned = self.models + models, self._planned + size
            case ReadingBegins(model, size):
                self._begun += size
                self.parts.setdefault(model, Part("verifying", size))
            case BytesRead(count, model):
                self._add(count)
                if (part := self.parts.get(model)) is not None:
                    part.reach(part.done + count)
            case FetchBegins(model, size):
                self._begun += size or 0
                self.parts[model] = Part("fetching", size)
            case FetchReached(model, done, size, by_another_run):
                if (part := self.parts.get(model)) is not None:  # else it ended, and a thread that was given up is late
                    self._begun += (size or 0) - (part.size or 0)
                    part.what, part.size = "waiting for another run to fetch" if by_another_run else "fetching", size
                    self._add(done - part.done)
                    part.reach(done)
            case FetchEnded(model):
                self.parts.pop(model, None)
            case ModelEnded(model):
                self.ended += 1
                self.parts.pop(model, None)

    def _add(self, count: int) -> None:
        self.done += count
        self.rate.reach(self.done)

    @property
    def size(self) -> int:
        """How many bytes are to be read and fetched, as far as is known by now."""
        return max(self._planned, self._begun, self.done)

    @property
    def told(self) -> str:
        """How far all is, in words."""
        far = told(self.done, self.size, self.rate.per_second)
        return f"{self.ended} of {self.models} models, {far}" if self.models > 1 else far


def told(done: int, size: int | None, rate: float) -> str:
    """Return `3.1 of 9.8 GB, 512 MB/s, 13 s left`, as far as that is known."""
    parts = [human(done) if size is None else human_of(done, size)]
    if rate >= 1:
        parts.append(f"{human(int(rate))}/s")
        if size is not None and size > done:
            parts.append(f"{duration((size - done) / rate)} left")
    return ", ".join(parts)


def line_of(name: str, part: Part, width: int) -> str:
    """Return the line of one model, of `width` columns at the most: its name is shortened before what is told of it."""
    what, far = f"  {part.what} ", f"  {part.told}"
    return cut(f"{what}{shortened(printable(name), width - columns(what) - columns(far))}{far}", width)
