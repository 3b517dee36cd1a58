"""Executors: files are hashed by threads, processes or workers on other machines. What they say is judged here."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # workers import this package, and it is the most that they import
if TYPE_CHECKING:
    from model_provisioner.hashing.executors.window import Window


def window_for(option: str | None) -> Window | None:
    """Return the window to the executor that --scheduler or the environment names; None where neither does. Raises as `chosen`.

    Who asks for none imports nothing for it.
    """
    if option is None and not os.environ.get("MODEL_PROVISIONER_SCHEDULER"):
        return None
    from model_provisioner.hashing.executors.choose import chosen
    from model_provisioner.hashing.executors.window import Window

    return None if (scheduler := chosen(option)) is None else Window(scheduler)
