"""Python's garbage collector: it comes seldom while many values are made that stay, for it would go through them each time.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Iterator

_OBJECTS = 100_000


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector come only after a hundred thousand new values: for what may take long."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the collector while many values are made that all stay: it would take half the time of a large file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
