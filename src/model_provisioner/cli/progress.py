"""Shows long readings and fetches on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_provisioner.engine.events import BytesRead, FetchBegins, FetchEnded, FetchReached, FetchWaits, ReadingBegins
from model_provisioner.errors import printable
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.events import Event

LONG_BYTES = 256 << 20
BAR_AFTER_SECONDS = 0.5
LINE_EVERY_SECONDS = 30.0
SHOWN_SECONDS = 1.0
"""How long a wait for a source must be to be shown."""


class Bars:
    """Shows one bar for all readings of a run, and one for each model that is fetched: bytes, rate, time left."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._total = self._done = 0
        self._reading: _Bar | None = None
        self._fetches: dict[str, _Bar] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            match event:
                case BytesRead(count):
                    self._done += count
                    self._reading = self._reading or _Bar()
                    self._reading.show("verifying", self._done, max(self._total, self._done))
                case ReadingBegins(_, size):
                    self._total += size
                    self._reading = self._reading or _Bar()
                case FetchReached(model, done, size, by_another_run):
                    if model in self._fetches:  # else it ended, and a thread that was given up is late
                        what = "another run fetches" if by_another_run else "fetching"
                        self._fetches[model].show(f"{what} {printable(model)}", done, size)
                case FetchWaits(model, seconds, why):
                    with self.aside():
                        _say_waiting(model, seconds, why)
                case FetchBegins(model):
                    self._fetches[model] = _Bar()
                case FetchEnded(model):
                    if (bar := self._fetches.pop(model, None)) is not None:
                        bar.close()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bars off the screen while something else is printed."""
        with self._lock:
            bars = [each.bar for each in self._all() if each.bar is not None]
            for bar in bars:
                bar.clear()
            yield
            for bar in bars:
                bar.refresh()

    def close(self) -> None:
        """Take the bars off the screen for good."""
        with self._lock:
            for each in self._all():
                each.close()
            self._reading, self._fetches = None, {}

    def _all(self) -> list[_Bar]:
        return [*([] if self._reading is None else [self._reading]), *self._fetches.values()]


class _Bar:
    """A bar that appears only when its work takes a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.bar: Any = None

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show that `done` bytes of `total` are done, if that took long enough by now."""
        if self.bar is None:
            if time.monotonic() - self._since > BAR_AFTER_SECONDS:
                self.bar = _tqdm(text, total, done)
            return
        if self.bar.desc != f"{text}: ":
            self.bar.set_description(text, refresh=False)
        if done < self.bar.n:  # it began anew
            self.bar.reset(total)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Take it off the screen for good."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _tqdm(text: str, total: int | None, done: int) -> Any:
    from tqdm import tqdm

    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    # Some terminals, of containers for instance, do not know their size: tqdm would show nothing.
    width = {"dynamic_ncols": True} if size.columns and size.lines else {"ncols": 79, "nrows": 24}
    return tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=text, leave=False, file=sys.stderr, **width)


class Lines:
    """Prints a line when a long reading or a fetch begins and every half minute while it goes on, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._last: dict[str | None, float] = {None: time.monotonic()}
        """When the last line was printed of the fetch of a model, and under None of the readings."""
        self._waiting: set[str] = set()
        """The models that another run fetches."""

    def __call__(self, event: Event) -> None:
        """Print what there is to say of an event."""
        with self._lock:
            match event:
                case BytesRead(count):
                    self._done += count
                    if self._is_due(None):
                        _say(f"read {human(self._done)} of {human(max(self._total, self._done))}")
                case ReadingBegins(model, size):
                    self._total += size
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
                    _say_waiting(model, seconds, why)
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

    def _is_due(self, model: str | None) -> bool:
        now = time.monotonic()
        if now - self._last[model] < LINE_EVERY_SECONDS:
            return False
        self._last[model] = now
        return True


def _say_waiting(model: str, seconds: float, why: str) -> None:
    if seconds >= SHOWN_SECONDS:
        _say(f"waiting {seconds:.0f} s to ask again for {printable(model)}: {printable(why)}")


def _say(line: str) -> None:
    # One write, so that the lines of two threads, or of two runs into one log, do not mix.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def progress_for_stderr() -> Bars | Lines:
    """Return the progress that suits where stderr goes."""
    return Bars() if sys.stderr.isatty() else Lines()
