"""The lines at the bottom of a terminal that tell how far all is, and each model that is under way."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.cli.columns import columns, cut
from model_provisioner.cli.progress.lines import say_locked, say_mirror, say_waiting
from model_provisioner.cli.progress.under_way import UnderWay, line_of
from model_provisioner.engine.events import FetchWaits, LockWaits, MirrorFails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.events import Event

AFTER_SECONDS = 0.5
"""What takes less is not shown."""
QUIET_SECONDS = 5.0
"""After so long also that is shown of which nothing came yet."""
EVERY_SECONDS = 0.1
"""How often it is drawn anew at the most."""
_MOST_LINES = 12


class Screen:
    """Draws the lines, and takes them off when something is printed, when a run ends and when it is interrupted.

    The cursor is never hidden, and always at the end of the last line: a process that is killed leaves the terminal usable.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._under_way = UnderWay()
        self._drawn: list[str] = []
        self._last, self._began = 0.0, time.monotonic()
        self._aside = False

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            match event:
                case FetchWaits(model, seconds, why):
                    with self.aside():
                        say_waiting(model, seconds, why)
                    return
                case LockWaits(path, holder):
                    with self.aside():
                        say_locked(path, holder)
                    return
                case MirrorFails(mirror, why):
                    with self.aside():
                        say_mirror(mirror, why)
                    return
            self._under_way.take(event)
            now = time.monotonic()
            if now - self._last >= EVERY_SECONDS and not self._aside:
                self._last = now
                self._draw(now)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the lines off the screen while something else is printed."""
        with self._lock:
            drawn, self._aside = bool(self._drawn), True
            self._clear()
            try:
                yield
            finally:
                self._aside = False
            if drawn:
                sys.stdout.flush()
                self._draw(time.monotonic())

    def close(self) -> None:
        """Take the lines off the screen for good."""
        with self._lock:
            self._clear()
            self._under_way = UnderWay()

    def _draw(self, now: float) -> None:
        width, height = _size()
        parts = [
            (name, part)
            for name, part in self._under_way.parts.items()
            if now - part.since > (AFTER_SECONDS if part.done else QUIET_SECONDS)
        ]
        # Of many small models none is shown by itself.
        if not parts and not (self._under_way.done and now - self._began > AFTER_SECONDS):
            return
        most = max(1, min(_MOST_LINES, height - 2))
        lines = [line_of(name, part, width) for name, part in parts[:most]]
        if len(parts) > most:
            lines.append(cut(f"  and {len(parts) - most} more", width))
        if self._under_way.models > 1 or not parts:
            lines.append(cut(self._under_way.told, width))
        text = self._erasing(width) + "\n".join(lines)
        self._drawn = lines
        sys.stderr.write(text)
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write(self._erasing(_size()[0]))
            sys.stderr.flush()
            self._drawn = []

    def _erasing(self, width: int) -> str:
        """Return what takes the lines off: a terminal that became narrower has broken them into more rows."""
        if not self._drawn:
            return ""
        rows = sum(max(1, -(-columns(line) // max(1, width + 1))) for line in self._drawn)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"


def _size() -> tuple[int, int]:
    """Return columns that a line may have, and rows. Some terminals, of containers for instance, do not know their size."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return (size.columns or 80) - 1, size.lines or 24
