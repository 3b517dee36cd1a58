"""What `doit provision` tells a document and a report for CI, beside what every run tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.cli.ci.cases import Case, Problem, of_run
from model_provisioner.cli.reply.run import tell_run
from model_provisioner.plugin.names import ASKED, BASENAME, model_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.cli.ci.report import CiReport
    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.engine.run import Run
    from model_provisioner.plugin.tally import Tally


def fill_in(reply: Reply, ci: CiReport, run: Run, named: Sequence[str], tally: Tally) -> None:
    """Say what became of the models until now: of those that are `named`, where it is models that are."""
    names = [name for name in run.work.config.entries if name in named] or list(run.work.config.entries)
    failures = list(_failures(run, tally))
    if reply.is_json:
        tell_run(reply, run, names)
        for each in failures:
            reply.add_end(each.code, each.what, each.model, each.found)
    if ci.is_wanted:
        ci.cases += of_run(run, names, {each.model: each.problem for each in failures if each.model is not None})
        ci.cases += [Case(name=each.task, wrong=[each.problem]) for each in failures if each.model is None]


@dataclass(frozen=True)
class _Failure:
    """A task that failed, or was skipped for another; `model` is the entry whose it is, if it is one."""

    task: str
    model: str | None
    code: str
    what: str
    found: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(kind=self.code, what=self.what, text=f"{self.what}\n{self.found}".rstrip())


def _failures(run: Run, tally: Tally) -> Iterator[_Failure]:
    """Yield what doit alone knows of: tasks of the project that failed, and models that were skipped for them."""
    told = {name for name, record in run.records.items() if record.error is not None}
    for task, fail in tally.failed_tasks:
        model = None if (found := model_of(task)) is None else found[1]
        if task in (BASENAME, ASKED) or model in told:
            continue
        if model is not None:
            told.add(model)
        yield _Failure(task, model, fail.get_name(), f"the task {task} failed", fail.get_msg().strip())
    for message in tally.broken_by:
        yield _Failure("doit", None, "RuntimeError", message.strip())
