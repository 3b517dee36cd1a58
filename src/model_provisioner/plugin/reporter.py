"""What `doit provision` prints: one line for each model that something was done for, and a summary."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

from doit.exceptions import UnmetDependency
from doit.reporter import ConsoleReporter

from model_provisioner.cli.output import relative as shown
from model_provisioner.cli.output import removed, summary, withdrawn
from model_provisioner.config.entries import pinned
from model_provisioner.errors import printable
from model_provisioner.plugin.names import ASKED, BASENAME, WITHDRAW, model_of
from model_provisioner.plugin.tasks import values_of
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable

    from doit.task import Task

    from model_provisioner.cli.progress import Bars, Lines
    from model_provisioner.engine.entry_run import EntryRun, Reason
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

    def __init__(self, outstream: Any, models: ModelTasks, progress: Bars | Lines, named: Iterable[str]) -> None:
        super().__init__(outstream, {})
        self._run, self._omitted = models.run, models.omitted
        self._progress, self._named = progress, set(named)
        self._started = time.monotonic()
        self._steps: dict[str, dict[str, Any]] = {}
        self._done = self._failed = 0
        self._ignored: set[str] = set()
        self._current = 0

    def write(self, text: str) -> None:
        """Write whole lines at once, beside the bar."""
        with self._progress.aside():
            self.outstream.write(text)
            self.outstream.flush()

    def execute_task(self, task: Task) -> None:
        """Report what the project's own tasks do, as doit does."""
        if model_of(task.name) is None and task.name != WITHDRAW:
            super().execute_task(task)

    def skip_uptodate(self, task: Task) -> None:
        """Count a model that is current."""
        found = model_of(task.name)
        if found is None and task.name != WITHDRAW:
            super().skip_uptodate(task)
        elif found is not None and found[0] == "handoff":
            self._finish(found[1])

    def skip_ignore(self, task: Task) -> None:
        """Report what the user told doit to ignore."""
        if task.name not in (BASENAME, ASKED):
            super().skip_ignore(task)
        if (found := model_of(task.name)) is not None:
            self._ignored.add(found[1])

    def add_success(self, task: Task) -> None:
        """Remember what a step found; the last one reports the model."""
        if (found := model_of(task.name)) is None:
            return
        step, name = found
        self._steps.setdefault(name, {}).update({step: True, **task.values})
        if step == "handoff":
            self._finish(name)

    def add_failure(self, task: Task, fail: Any) -> None:
        """Report a model that failed, once: what was skipped for it says nothing new."""
        found = model_of(task.name)
        if isinstance(fail, UnmetDependency) and (task.name in (BASENAME, ASKED) or found):
            if found is not None and self._steps.get(found[1]) != {}:
                self._failed += 1
                self._steps[found[1]] = {}
                self.told.add(found[1])
                self.write(f"FAIL  {found[1]}  what it needs failed: {fail.message}\n")
            return
        if found is None:
            super().add_failure(task, fail)
            return
        self._failed += 1
        self._steps[found[1]] = {}
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
        self.write(summary(**counts, retired=retired, seconds=seconds))

    def done_before(self, record: EntryRun) -> None:
        """Report a model that was done before doit's tasks began."""
        why = record.why
        verified = why is None or any(reason.step == "verify" for reason in why)
        self._steps[record.name] = {
            **(values_of(record, "verify") if verified else {}),
            **values_of(record, "register"),
            **values_of(record, "handoff"),
        }
        self._report_orphans()
        self._done += 1
        self.write(self._line(record, self._steps[record.name]))

    def _report_orphans(self) -> None:
        for path in self._run.orphans:
            if path not in self.told:
                self.told.add(path)
                self.write(f"gone  {removed(path)}\n")

    def _finish(self, name: str) -> None:
        steps = self._steps.get(name, {})
        if not steps:
            self._current += 1
            if name in self._named:
                self.write(f"same  {name}  current\n")
            return
        self._done += 1
        self.write(self._line(self._run.record(name), steps))

    def _line(self, record: EntryRun, steps: dict[str, Any]) -> str:
        name, outcome = record.name, steps.get("outcome")
        reasons = record.why or []
        # The first step's reasons say it all: what follows from them is no news.
        why = record.origin or "; ".join(_past(reason) for reason in reasons if reason.step == reasons[0].step)
        verb = {"hashed": "hashed", "xxh3": "confirmed by xxh3", "stat": "confirmed by stat"}.get(steps.get("how", ""))
        what = f"{verb} {human(steps['size'])}" if verb else "recorded again"
        line = f"{outcome or 'done'}  {name}  {what}" + (f" ({printable(why)})" if why else "")
        if steps.get("written"):
            line += f" → {printable(shown(record.entry.handoff))}"
        lines = [line]
        expected = record.entry.expected
        # Of the model, and where it has companions, of each of them: label, outcome, expected, found.
        parts = steps.get("parts") or [("", outcome, expected, steps.get("digest"))]
        if outcome == "warn":
            lines += [
                f"      no digest is expected{f' of {label}' if label else ''}; "
                f"to pin these bytes add   {pinned(part, str(found))}"
                for part, (label, each, _, found) in zip(record.entry.parts, parts, strict=True)
                if each == "warn"
            ]
        elif outcome == "fail" and "fault" in steps:
            first, *rest = steps["fault"].splitlines()
            lines[0] = f"FAIL! {name}  {first}, and strict_verification is false: it was handed off all the same"
            lines += [f"      {line}" for line in rest]
        elif outcome == "fail":
            lines[0] = (
                f"FAIL! {name}  THE DIGEST DIFFERS, and strict_verification is false: it was handed off all the same"
            )
            for label, each, expected, found in parts:
                if each == "fail":
                    lines += [f"        {printable(label)}"] if label else []
                    lines += [f"        expected  {expected}", f"        found     {found}"]
        notes = [*record.evicted, *steps.get("notes", ())]
        lines += [f"      note: {printable(note)}" for note in notes]
        return "\n".join(lines) + "\n"


def _past(reason: Reason) -> str:
    """Return the text of a reason for what is done by now."""
    return "it was made since this run began" if reason.missing else reason.text
