"""The seams to doit: the only package that imports it.

A `dodo.py` takes `DOIT_CONFIG`, `task_models` and `same_model` from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.plugin.downstream import SameModel

    DOIT_CONFIG: dict[str, Any]

__all__ = ["DOIT_CONFIG", "same_model", "task_models"]


def task_models() -> Iterator[dict[str, Any]]:
    """Make every model of models.yaml present, verified and handed off"""
    from model_provisioner.plugin.loader import tasks_here

    yield from tasks_here()


def same_model(name: str) -> SameModel:
    """Return an item of `uptodate` for a task that uses the model of an entry, for instance to serve it.

    The task comes after the model is handed off, and is done again when its engine would load something else: other bytes,
    another path, another companion. What else a handoff tells may change without it.
    """
    from model_provisioner.plugin.downstream import SameModel

    return SameModel(name)


def __getattr__(name: str) -> Any:
    # Made when it is asked for: the state of a project depends on the working directory, which doit sets first.
    if name == "DOIT_CONFIG":
        from model_provisioner.plugin.loader import doit_config_here

        return doit_config_here()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
