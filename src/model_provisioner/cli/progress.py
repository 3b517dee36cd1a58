"""Shows long readings and fetches on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import printable
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.workspace import Transfer

LONG_BYTES = 256 << 20
BAR_AFTER_SECONDS = 0.5
LINE_EVERY_SECONDS = 30.0


class Bar:
    """One bar for all readings of a run, and one for each model that is fetched: bytes, rate, time left.

    A bar appears only when its work takes a while.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fetches: list[FetchBar] = []
        self._since = 0.0
        self._total = self._done = 0
        self._bar: Any = None

    def begin(self, name: str, size: int) -> None:
        """Add `size` bytes to what is to be read."""
        with self._lock:
            self._since = self._since or time.monotonic()
            self._total += size
            if self._bar is not None:
                self._bar.total = self._total

    def advance(self, count: int) -> None:
        """Note `count` more bytes."""
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.total = max(self._total, self._done)
                self._bar.update(count)
            elif time.monotonic() - self._since > BAR_AFTER_SECONDS:
                self._bar = _bar("verifying", self._total, self._done)

    def fetching(self, name: str, size: int | None, source: str) -> Transfer:
        """Begin the bar of a model."""
        with self._lock:
            self._fetches.append(FetchBar(self._lock, name, size))
            return self._fetches[-1]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bars off the screen while something else is printed."""
        with self._lock:
            self._fetches = [each for each in self._fetches if each.is_open]
            bars = [bar for bar in (self._bar, *(each.bar for each in self._fetches)) if bar is not None]
            for bar in bars:
                bar.clear()
            yield
            for bar in bars:
                bar.refresh()

    def close(self) -> None:
        """Take the bars off the screen for good."""
        with self._lock:
            for each in self._fetches:
                each.close()
            if self._bar is not None:
                self._bar.close()
                self._bar = None


class FetchBar:
    """The bar of one model that is fetched."""

    def __init__(self, lock: threading.RLock, name: str, size: int | None) -> None:
        self._lock, self._name, self._size = lock, name, size
        self._since = time.monotonic()
        self.is_open = True
        self.bar: Any = None

    def expect(self, size: int) -> None:
        """All in all it is `size` bytes."""
        with self._lock:
            self._size = size
            if self.bar is not None:
                self.bar.total = size

    def reach(self, size: int) -> None:
        """So many bytes are here by now."""
        self._show(size, "fetching")

    def follow(self, size: int) -> None:
        """Another run brings it; so many bytes are here by now."""
        self._show(size, "another run fetches")

    def close(self) -> None:
        """Take the bar off the screen for good."""
        with self._lock:
            self.is_open = False
            if self.bar is not None:
                self.bar.close()
                self.bar = None

    def _show(self, size: int, what: str) -> None:
        with self._lock:
            if not self.is_open:
                return
            text = f"{what} {printable(self._name)}"
            if self.bar is None:
                if time.monotonic() - self._since > BAR_AFTER_SECONDS:
                    self.bar = _bar(text, self._size, size)
                return
            if self.bar.desc != f"{text}: ":
                self.bar.set_description(text, refresh=False)
            if size < self.bar.n:  # it began anew
                self.bar.reset(self._size)
            self.bar.update(size - self.bar.n)


def _bar(text: str, total: int | None, done: int) -> Any:
    from tqdm import tqdm

    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    # Some terminals, of containers for instance, do not know their size: tqdm would show nothing.
    width = {"dynamic_ncols": True} if size.columns and size.lines else {"ncols": 79, "nrows": 24}
    return tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=text, leave=False, file=sys.stderr, **width)


class Lines:
    """A line when a long reading begins and every half minute while it goes on, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._last = time.monotonic()

    def begin(self, name: str, size: int) -> None:
        """Tell of a long reading."""
        with self._lock:
            self._total += size
        if size >= LONG_BYTES:
            _say(f"reading {printable(name)}, {human(size)}")

    def advance(self, count: int) -> None:
        """Note `count` more bytes."""
        with self._lock:
            self._done += count
            if time.monotonic() - self._last < LINE_EVERY_SECONDS:
                return
            self._last = time.monotonic()
            _say(f"read {human(self._done)} of {human(max(self._total, self._done))}")

    def fetching(self, name: str, size: int | None, source: str) -> Transfer:
        """Tell of a fetch."""
        return FetchLines(name, size, source)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lines are in nobody's way."""
        yield

    def close(self) -> None:
        """Nothing is left to close."""


class FetchLines:
    """A line when a fetch begins and every half minute while it goes on."""

    def __init__(self, name: str, size: int | None, source: str) -> None:
        self._name, self._size = printable(name), size
        self._last = time.monotonic()
        self._follows = False
        _say(f"fetching {self._name}{'' if size is None else f', {human(size)}'} from {printable(source)}")

    def expect(self, size: int) -> None:
        """All in all it is `size` bytes."""
        self._size = size

    def reach(self, size: int) -> None:
        """Tell now and then how far it is."""
        if time.monotonic() - self._last >= LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            of = "" if self._size is None else f" of {human(self._size)}"
            _say(f"fetched {human(size)}{of}: {self._name}")

    def follow(self, size: int) -> None:
        """Tell once that another run brings it, and now and then how far that is."""
        if not self._follows:
            self._follows = True
            _say(f"another run fetches {self._name}: waiting for it")
        self.reach(size)

    def close(self) -> None:
        """Nothing is left to close."""


def _say(line: str) -> None:
    # One write, so that the lines of two threads, or of two runs into one log, do not mix.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def progress_for_stderr() -> Bar | Lines:
    """Return the progress that suits where stderr goes."""
    return Bar() if sys.stderr.isatty() else Lines()
