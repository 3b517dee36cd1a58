"""The events that tell how far a run is. Whoever wants to know gives the run one function that is called with each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.fs.locking.holder import Holder


@dataclass(frozen=True, slots=True)
class WorkBegins:
    """Models are about to be provisioned."""

    models: int
    """How many."""
    size: int
    """About how many bytes of them, on this disk, will be read."""


@dataclass(frozen=True, slots=True)
class ModelEnded:
    """A model is done, or failed."""

    model: str


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
    model: str = ""
    """Of which model; empty where those of several are read together."""


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
class FetchWaits:
    """The source of a model can't answer now, and is asked again after a while."""

    model: str
    seconds: float
    why: str
    """What it answered, or that it did not."""


@dataclass(frozen=True, slots=True)
class MirrorFails:
    """A mirror did not bring a file: the next place is asked. Told once a run of each mirror, and once that it lacks a file."""

    mirror: str
    why: str


@dataclass(frozen=True, slots=True)
class FetchEnded:
    """A model is no longer fetched: all of it is here, or the fetch failed."""

    model: str


@dataclass(frozen=True, slots=True)
class LockWaits:
    """A thread of this process waits for a lock that another process, another thread or another host holds."""

    path: str
    """The file or folder that is locked."""
    holder: Holder | None
    """Who holds it; None where that can't be told."""


Event: TypeAlias = (
    WorkBegins
    | ModelEnded
    | ReadingBegins
    | BytesRead
    | FetchBegins
    | FetchReached
    | FetchWaits
    | MirrorFails
    | FetchEnded
    | LockWaits
)

Progress: TypeAlias = Callable[[Event], object]
"""Called with each event, from any thread, with those of one fetch in their order. What it raises ends the reading or fetch."""


def silent(event: Event) -> None:
    """Ignore an event."""


def waiting(progress: Progress) -> Callable[[str, Holder | None], object]:
    """Return what tells `progress` of a lock that is waited for, by its path and its holder."""
    return lambda path, holder: progress(LockWaits(path, holder))


def counting(progress: Progress, model: str = "") -> Callable[[int], None]:
    """Return what tells `progress` of each count of bytes of a model that it is given; without a name, of several."""

    def count_read(count: int) -> None:
        progress(BytesRead(count, model))

    return count_read


@contextmanager
def fetching(progress: Progress, model: str, size: int | None, source: str) -> Iterator[FetchProgress]:
    """Tell `progress` that `size` bytes of a model come from `source` while the block runs; None where nobody knows."""
    progress(FetchBegins(model, size, source))
    try:
        yield FetchProgress(progress, model, size)
    finally:
        progress(FetchEnded(model))


class FetchProgress:
    """Adds up the bytes of the files of one model. Each is named by the key of its download."""

    def __init__(self, progress: Progress, model: str, size: int | None) -> None:
        self._progress, self._model, self._size = progress, model, size
        self._lock = Lock()
        self._done: dict[str, int] = {}
        self._ours: set[str] = set()
        """The files that this run fetches, and no other."""

    def expect(self, key: str, size: int) -> None:
        """Note that a file whose size the source did not list has `size` bytes."""
        with self._lock:
            self._size = size + sum(done for each, done in self._done.items() if each != key)

    def reach(self, key: str, done: int, *, by_another_run: bool = False) -> None:
        """Tell that `done` bytes of a file are here."""
        with self._lock:
            self._done[key] = done
            if not by_another_run:
                self._ours.add(key)
            self._progress(FetchReached(self._model, sum(self._done.values()), self._size, not self._ours))

    def wait(self, seconds: float, why: str) -> None:
        """Tell that a source is asked again after some seconds, and why."""
        self._progress(FetchWaits(self._model, seconds, why))

    def add(self, key: str, count: int) -> None:
        """Tell that `count` more bytes of a file are here."""
        self.reach(key, self._done.get(key, 0) + count)
