"""How a run went, for its exit code: mixed into whatever reporter shows it, and the reporter of plain `doit`.

On the way of every no-op, as part of our settings of doit: it imports nothing but doit.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from model_provisioner.plugin.names import WITHDRAW, BadInput, model_of

if TYPE_CHECKING:
    from doit.task import Task


class Tally:
    """Remembers how a run went, for the exit code; mixed into the reporter that shows it."""

    failed = misled = broken = False

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.told: set[str] = set()
        """The models of which it was said that they failed, or lost their handoff, and the paths that are said to be gone."""
        self.failed_tasks: list[tuple[str, Any]] = []
        """The tasks that failed, by name, each with what doit says of it."""
        self.broken_by: list[str] = []

    def add_failure(self, task: Task, fail: Any) -> None:
        """Tell a model that failed (and what was skipped for it) from something that broke."""
        self.failed_tasks.append((task.name, fail))
        if not isinstance(fail, UnmetDependency) and (model := model_of(task.name)) is not None:
            self.told.add(model[1])
        if isinstance(fail, TaskFailed | UnmetDependency):
            self.failed = True
            self.misled = self.misled or isinstance(fail, BadInput)
        else:
            self.broken = True
        super().add_failure(task, fail)  # type: ignore[misc]  # the reporter's

    def runtime_error(self, message: str) -> None:
        """Note that the run ended before its end."""
        self.broken = True
        self.broken_by.append(message)
        super().runtime_error(message)  # type: ignore[misc]  # the reporter's

    @property
    def exit_code(self) -> int:
        """2 if something broke, else 3 if a model failed for bad input, else 1 if one failed, else 0."""
        return 2 if self.broken else 3 if self.misled else 1 if self.failed else 0


def tallying(reporter: type) -> type:
    """Return the class of a reporter that tallies as well."""
    return type(reporter.__name__, (Tally, reporter), {})


class PlainReporter(Tally, ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """doit's own reporter, for plain `doit`: at the end it names the models that lost their handoff, and fails the run."""

    def add_success(self, task: Task) -> None:
        """Note what became of handoffs: the task may have run in another process, which has records of its own."""
        from model_provisioner.plugin.session import plain_run

        super().add_success(task)
        model, run = model_of(task.name), plain_run()
        if run is not None and task.name == WITHDRAW:
            for name in task.values["withdrawn"]:
                run.record(name).withdrawn = True
        elif run is not None and model is not None and model[0] == "handoff":
            run.record(model[1]).withdrawn = False

    def complete_run(self) -> None:
        """Report as doit does; then end with 1 where a handoff is gone and no task failed.

        doit takes its exit code from the tasks that it ran, and each of them may have succeeded: those that would write the
        handoff again were not selected, or are ignored.
        """
        from model_provisioner.cli.output import warn_of_withdrawn
        from model_provisioner.plugin.session import plain_run

        super().complete_run()
        run = plain_run()
        if run is not None and warn_of_withdrawn(run, self.told) and not self.exit_code and sys.exc_info()[1] is None:
            raise SystemExit(1)
