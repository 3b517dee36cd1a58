"""Which cores of this machine are busy with reading models, so that one file may use those that are left."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_busy = 0


def available() -> int:
    """Return how many cores this process may use."""
    # A container or a batch system may leave it fewer than the machine has; macOS can't tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reading() -> Iterator[int]:
    """Take a core for the reading of one file; yield how many are left for it beside that one."""
    global _busy  # noqa: PLW0603  the cores are the process's, whoever reads
    with _lock:
        _busy += 1
        spare = max(0, available() - _busy)
    try:
        yield spare
    finally:
        with _lock:
            _busy -= 1
