"""The run that doit's tasks belong to. doit hands a creator of tasks nothing: `task_models` finds its run here."""

from __future__ import annotations

import atexit
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from model_provisioner.cli.progress import show_wait
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.fs.locking.waits import waits_told
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.plugin.tasks import ModelTasks

if TYPE_CHECKING:
    from collections.abc import Iterator

_plain: ContextVar[Run | None] = ContextVar("the run of plain doit", default=None)
_current: ContextVar[ModelTasks | None] = ContextVar("the tasks of the run of `doit provision`", default=None)


def tasks_for(config_path: str) -> ModelTasks:
    """Return the tasks of the run of `doit provision`, or else those of a run of plain doit, which begins here."""
    if (tasks := _current.get()) is not None:
        return tasks
    work = open_workspace(config_path)
    ensure_state_folder(work.state)
    run = Run(work)
    _plain.set(run)
    ends = ExitStack()
    ends.enter_context(run)
    ends.enter_context(waits_told(show_wait))
    atexit.register(_end, ends)  # doit does not say when it ends
    return ModelTasks(run)


def _end(ends: ExitStack) -> None:
    _plain.set(None)
    ends.close()


def plain_run() -> Run | None:
    """Return the run of plain doit in this process, None before its tasks were made."""
    return _plain.get()


def tasks_of_provision() -> ModelTasks | None:
    """Return the tasks of `doit provision` while it loads the project's, None under plain doit."""
    return _current.get()


@contextmanager
def belonging_to(tasks: ModelTasks) -> Iterator[None]:
    """Let what is loaded in the block get the tasks of `doit provision`."""
    token = _current.set(tasks)
    try:
        yield
    finally:
        _current.reset(token)
