"""What our tasks are called, and how they fail. On the way of every no-op, so it imports nothing but doit."""

from __future__ import annotations

from doit.exceptions import TaskFailed

BASENAME = "models"
WITHDRAW = f"{BASENAME}:withdraw"
ASKED = "_provision"
"""The group of the models that `doit provision` was asked for by name."""
STEPS = ("fetch", "verify", "register", "handoff")


def is_ours(task: str) -> bool:
    """Tell whether a task of this name is one of ours."""
    return task == BASENAME or task.startswith(f"{BASENAME}:")


def model_of(task: str) -> tuple[str, str] | None:
    """Return step and entry of one of our tasks, None for any other."""
    basename, _, rest = task.partition(":")
    step, colon, name = rest.partition(":")
    return (step, name) if basename == BASENAME and colon else None


class BadInput(TaskFailed):  # type: ignore[misc]  # doit has no types
    """A model that failed for a setting of the environment that can't be used."""
