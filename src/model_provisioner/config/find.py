"""Where a project's configuration is. On the way of every no-op, so it imports next to nothing."""

from __future__ import annotations

import os

CONFIG_NAME = "models.yaml"


def find_config(start: str) -> str | None:
    """Return the path of the `models.yaml` in `start` or the nearest folder above it."""
    folder = os.path.realpath(start)
    while True:
        path = os.path.join(folder, CONFIG_NAME)
        if os.path.lexists(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
