"""What `doit provision` prints: one line for each model that something was done for, and a summary."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

from doit.exceptions import UnmetDependency
from doit.reporter import ConsoleReporter

from model_provisioner.cli.output import removed, withdrawn
from model_provisioner.cli.run_line import done_line
from model_provisioner.cli.summary import summary
from model_provisioner.plugin.names import ASKED, BASENAME, WITHDRAW, model_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from doit.task import Task

    from model_provisioner.cli.progress.lines import Lines
    from model_provisioner.cli.progress.screen import Screen
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.plugin.tasks import ModelTasks


_FIRST_LINE = re.compile(
    rb"(?:pass|warn|done|same|skip|gone|FAIL!?)  \S"  # of our reporter
    rb"|(?:\. |--|!!) \S"  # of doit's
    rb"|\d+ models?: .+ \(\d+\.\d\d s\)$"
    rb'|\{"tasks": \[',
    re.MULTILINE,
)


def is_report(data: bytes) -> bool:
    """Tell of the first bytes of a file whether they are the output of a run, whole or not."""
    return _FIRST_LINE.match(data) is not None


class ModelReporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """Reports models, not tasks; the tasks of the project itself as doit does. Used by way of `tallying`."""

    told: set[str]

    def __init__(
        self, outstream: Any, models: ModelTasks, progress: Screen | Lines, named: Iterable[str], *, quiet: bool
    ) -> None:
        super().__init__(outstream, {})
        self._quiet = quiet
        self._run, self._omitted = models.run, models.omitted
        self._progress, self._named = progress, set(named)
        self._started = time.monotonic()
        self._steps: dict[str, set[str]] = {}
        """The steps that were taken of models; none of one that failed."""
        self._done = self._failed = 0
        self._ignored: set[str] = set()
        self._current = 0

    def write(self, text: str) -> None:
        """Write whole lines at once, beside the bar."""
        with self._progress.aside():
            self.outstream.write(text)
            self.outstream.flush()

    def _tell(self, text: str, *, aloud: bool = False) -> None:
        """Write what nobody need hear who asked for quiet, unless it is `aloud`."""
        if aloud or not self._quiet:
            self.write(text)

    def execute_task(self, task: Task) -> None:
        """Report what the project's own tasks do, as doit does."""
        if model_of(task.name) is None and task.name != WITHDRAW and not self._quiet:
            super().execute_task(task)

    def skip_uptodate(self, task: Task) -> None:
        """Count a model that is current."""
        found = model_of(task.name)
        if found is None and task.name != WITHDRAW and not self._quiet:
            super().skip_uptodate(task)
        elif found is not None and found[0] == "handoff":
            self._finish(found[1])

    def skip_ignore(self, task: Task) -> None:
        """Report what the user told doit to ignore."""
        if task.name not in (BASENAME, ASKED) and not self._quiet:
            super().skip_ignore(task)
        if (found := model_of(task.name)) is not None:
            self._ignored.add(found[1])

    def add_success(self, task: Task) -> None:
        """Remember what a step found; the last one reports the model."""
        if (found := model_of(task.name)) is None:
            return
        step, name = found
        self._steps.setdefault(name, set()).add(step)
        if step == "handoff":
            self._finish(name)

    def add_failure(self, task: Task, fail: Any) -> None:
        """Report a model that failed, once: what was skipped for it says nothing new."""
        found = model_of(task.name)
        if isinstance(fail, UnmetDependency) and (task.name in (BASENAME, ASKED) or found):
            if found is not None and self._steps.get(found[1]) != set():
                self._failed += 1
                self._steps[found[1]] = set()
                self.told.add(found[1])
                self.write(f"FAIL  {found[1]}  what it needs failed: {fail.message}\n")
            return
        if found is None:
            super().add_failure(task, fail)
            return
        self._failed += 1
        self._steps[found[1]] = set()
        first, _, rest = fail.get_msg().rstrip().partition("\n")
        block = "".join(f"      {line}\n" for line in rest.splitlines())
        gone = "      its handoff was withdrawn\n" if self._run.record(found[1]).withdrawn else ""
        self.write(f"FAIL  {found[1]}  {first}\n{block}{gone}")

    def initialize(self, tasks: Any, selected_tasks: Any) -> None:
        """Report what was withdrawn before the tasks began."""
        super().initialize(tasks, selected_tasks)
        self._report_orphans()

    def complete_run(self) -> None:
        """Report what doit itself found wrong, then the summary."""
        self._progress.close()
        super().complete_run()
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            return
        seconds = time.monotonic() - self._started
        run = self._run
        current = self._current + sum(name not in self._steps for name in self._omitted)
        named = self._named & run.work.config.entries.keys()
        retired = run.retired & named if self._named else run.retired
        lost = [record for record in run.lost if record.name not in self.told]
        for record in lost:
            self.told.add(record.name)
            self.write(f"gone  {withdrawn(record)}\n")
        ignored = len(self._ignored - self.told)
        counts = {
            "done": self._done,
            "current": current,
            "failed": self._failed,
            "withdrawn": len(lost),
            "ignored": ignored,
        }
        self._tell(summary(**counts, retired=retired, seconds=seconds), aloud=bool(self._failed or lost))

    def done_before(self, record: EntryRun) -> None:
        """Report a model that was done before doit's tasks began."""
        why = record.why
        verified = why is None or any(reason.step == "verify" for reason in why)
        self._steps[record.name] = {"verify"} if verified else {"handoff"}
        self._report_orphans()
        self._done += 1
        self._say_done(record, verified=verified)

    def _report_orphans(self) -> None:
        for path in self._run.orphans:
            if path not in self.told:
                self.told.add(path)
                self._tell(f"gone  {removed(path)}\n")

    def _finish(self, name: str) -> None:
        steps = self._steps.get(name)
        if not steps:
            self._current += 1
            if name in self._named:
                self._tell(f"same  {name}  current\n")
            return
        self._done += 1
        self._say_done(self._run.record(name), verified="verify" in steps)

    def _say_done(self, record: EntryRun, *, verified: bool) -> None:
        found = record.verification
        self._tell(done_line(record, verified=verified), aloud=found is not None and found.outcome != "pass")
