"""The seams to doit: the only package that imports it. A `dodo.py` takes `DOIT_CONFIG` and `task_models` from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    DOIT_CONFIG: dict[str, Any]

__all__ = ["DOIT_CONFIG", "task_models"]


def task_models() -> Iterator[dict[str, Any]]:
    """Make every model of models.yaml present, verified and handed off"""
    from model_provisioner.plugin.loader import tasks_here

    yield from tasks_here()


def __getattr__(name: str) -> Any:
    # Made when it is asked for: the state of a project depends on the working directory, which doit sets first.
    if name == "DOIT_CONFIG":
        from model_provisioner.plugin.loader import doit_config_here

        return doit_config_here()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
