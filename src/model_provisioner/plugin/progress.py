"""Shows long readings on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import printable
from model_provisioner.sizes import human

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_BYTES = 256 << 20
BAR_AFTER_SECONDS = 0.5
LINE_EVERY_SECONDS = 30.0


class Bar:
    """One bar for all readings of a run: bytes, rate, time left. It appears only when they take a while."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
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
                self._bar = self._appear()

    def _appear(self) -> Any:
        from tqdm import tqdm

        try:
            size = os.get_terminal_size(sys.stderr.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        # Some terminals, of containers for instance, do not know their size: tqdm would show nothing.
        width = {"dynamic_ncols": True} if size.columns and size.lines else {"ncols": 79, "nrows": 24}
        return tqdm(
            total=self._total,
            initial=self._done,
            unit="B",
            unit_scale=True,
            desc="verifying",
            leave=False,
            file=sys.stderr,
            **width,
        )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar off the screen while something else is printed."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            yield
            if self._bar is not None:
                self._bar.refresh()

    def close(self) -> None:
        """Take the bar off the screen for good."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


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
            print(f"reading {printable(name)}, {human(size)}", file=sys.stderr, flush=True)

    def advance(self, count: int) -> None:
        """Note `count` more bytes."""
        with self._lock:
            self._done += count
            if time.monotonic() - self._last < LINE_EVERY_SECONDS:
                return
            self._last = time.monotonic()
            print(f"read {human(self._done)} of {human(max(self._total, self._done))}", file=sys.stderr, flush=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lines are in nobody's way."""
        yield

    def close(self) -> None:
        """Nothing is left to close."""


def progress_for_stderr() -> Bar | Lines:
    """Return the progress that suits where stderr goes."""
    return Bar() if sys.stderr.isatty() else Lines()
