"""Tells in lines how far long readings and fetches are, for logs."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.engine.events import (
    BytesRead,
    FetchBegins,
    FetchEnded,
    FetchReached,
    FetchWaits,
    LockWaits,
    MirrorFails,
    ReadingBegins,
)
from model_provisioner.errors import printable
from model_provisioner.units import duration, human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.events import Event
    from model_provisioner.fs.locking.holder import Holder

LONG_BYTES = 256 << 20
LINE_EVERY_SECONDS = 30.0
SHOWN_SECONDS = 1.0
"""How long a wait for a source must be to be shown."""


class Lines:
    """Prints a line when a long reading or a fetch begins and every half minute while it goes on, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._last: dict[str | None, float] = {None: time.monotonic()}
        """When the last line was printed of the fetch of a model, and under None of the readings."""
        self._moved = time.monotonic()
        """When bytes of a reading came last, or one began."""
        self._waiting: set[str] = set()
        """The models that another run fetches."""

    def __call__(self, event: Event) -> None:
        """Print what there is to say of an event."""
        with self._lock:
            match event:
                case BytesRead(count, _):
                    self._done += count
                    quiet = self._quiet(count)
                    if self._is_due(None):
                        _say(f"read {human(self._done)} of {human(max(self._total, self._done))}{quiet}")
                case ReadingBegins(model, size):
                    self._total += size
                    self._moved = time.monotonic()
                    if size >= LONG_BYTES:
                        _say(f"reading {printable(model)}, {human(size)}")
                case FetchReached(model, done, size, by_another_run):
                    if by_another_run and model not in self._waiting:
                        self._waiting.add(model)
                        _say(f"another run fetches {printable(model)}: waiting for it")
                    if self._is_due(model):
                        of = "" if size is None else f" of {human(size)}"
                        _say(f"fetched {human(done)}{of}: {printable(model)}")
                case FetchWaits(model, seconds, why):
                    say_waiting(model, seconds, why)
                case LockWaits(path, holder):
                    say_locked(path, holder)
                case MirrorFails(mirror, why):
                    say_mirror(mirror, why)
                case FetchBegins(model, size, source):
                    self._last[model] = time.monotonic()
                    of = "" if size is None else f", {human(size)}"
                    _say(f"fetching {printable(model)}{of} from {printable(source)}")
                case FetchEnded(model):
                    self._waiting.discard(model)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lines are in nobody's way."""
        yield

    def close(self) -> None:
        """Nothing is left to close."""

    def _quiet(self, count: int) -> str:
        """Say for how long nothing came, where that is long: a worker tells of a file when it has read it all."""
        now = time.monotonic()
        if count:
            self._moved = now
        quiet = now - self._moved
        return f", nothing new for {duration(quiet)}" if quiet >= LINE_EVERY_SECONDS else ""

    def _is_due(self, model: str | None) -> bool:
        now = time.monotonic()
        if now - self._last[model] < LINE_EVERY_SECONDS:
            return False
        self._last[model] = now
        return True


def say_waiting(model: str, seconds: float, why: str) -> None:
    """Say that a source is asked again after some seconds, and why; a short wait is not worth a line."""
    if seconds >= SHOWN_SECONDS:
        _say(f"waiting {seconds:.0f} s to ask again for {printable(model)}: {printable(why)}")


def say_locked(path: str, holder: Holder | None) -> None:
    """Say that a lock is waited for, and who holds it."""
    if holder is None:
        _say(f"waiting for another program, which holds the lock of {printable(path)}")
    elif holder.pid == os.getpid():
        _say(f"waiting for another thread of this program, which holds the lock of {printable(path)}")
    else:
        command = f" ({printable(holder.command)})" if holder.command else ""
        stopped = f"; it is stopped: `kill -CONT {holder.pid}` lets it go on" if holder.is_stopped else ""
        _say(f"waiting for process {holder.pid}{command}, which holds the lock of {printable(path)}{stopped}")


def say_mirror(mirror: str, why: str) -> None:
    """Say that a mirror did not bring a file, and why."""
    _say(f"note: the mirror {printable(mirror)} was passed over: {printable(why)}")


def _say(line: str) -> None:
    # One write, so that the lines of two threads, or of two runs into one log, do not mix.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
