"""The events that tell how far a run is. Whoever wants to know gives the run one function that is called with each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ReadingBegins:
    """A model on this disk is about to be read."""

    model: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class BytesRead:
    """More bytes of models on this disk were read."""

    count: int
    """Since the last such event."""


@dataclass(frozen=True, slots=True)
class FetchBegins:
    """A model is about to be fetched."""

    model: str
    size: int | None
    """In bytes; None where the source does not say."""
    source: str
    """A host, or another program on this machine."""


@dataclass(frozen=True, slots=True)
class FetchReached:
    """More of a model that is fetched is here, or less, where a download begins anew."""

    model: str
    done: int
    """Bytes that are here, all in all."""
    size: int | None
    """Bytes that the whole model has, as far as is known by now."""
    by_another_run: bool = False
    """Whether only another run fetches it, for which this one waits."""


@dataclass(frozen=True, slots=True)
class FetchEnded:
    """A model is no longer fetched: all of it is here, or the fetch failed."""

    model: str


Event: TypeAlias = ReadingBegins | BytesRead | FetchBegins | FetchReached | FetchEnded

Progress: TypeAlias = Callable[[Event], object]
"""Called with each event, from any thread, with those of one fetch in their order. What it raises ends the reading or fetch."""


def silent(event: Event) -> None:
    """Ignore an event."""


def counting(progress: Progress) -> Callable[[int], None]:
    """Return what tells `progress` of each count of bytes that it is given."""

    def count_read(count: int) -> None:
        progress(BytesRead(count))

    return count_read
