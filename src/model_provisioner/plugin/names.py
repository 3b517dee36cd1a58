"""What things are called: the configuration file, our tasks. On the way of every no-op, so it imports next to nothing."""

from __future__ import annotations

import os

CONFIG_NAME = "models.yaml"
BASENAME = "models"
WITHDRAW = f"{BASENAME}:withdraw"
STEPS = ("fetch", "verify", "register", "handoff")


def is_ours(task: str) -> bool:
    """Tell whether a task of this name is one of ours."""
    return task == BASENAME or task.startswith(f"{BASENAME}:")


def model_of(task: str) -> tuple[str, str] | None:
    """Return step and entry of one of our tasks, None for any other."""
    basename, _, rest = task.partition(":")
    step, colon, name = rest.partition(":")
    return (step, name) if basename == BASENAME and colon else None


def shown(path: str) -> str:
    """Return a path as a project's own tasks write it: relative where it lies in the working directory."""
    here = os.getcwd()
    return path[len(here) + 1 :] if path.startswith(f"{here}/") else path


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
