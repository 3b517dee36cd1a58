"""What a command found of each model, as CI shows it: a test case with what is wrong and what is warned of."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.cli.reply.run import became
from model_provisioner.errors import ConfigError, ProvisionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run
    from model_provisioner.operations.check import Report
    from model_provisioner.operations.differences import Difference

_PLACE = re.compile(r"(?P<path>.+?):(?P<line>\d+)(,|$)")
"""How a fault of a file says where it is."""
_SKIPPED = {"retired": "retired", "left": "not done"}
"""What is said of an entry for which nothing was done."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, or that is warned of."""

    kind: str
    """In one word."""
    what: str
    text: str
    """All of it, as errors are worded."""
    place: tuple[str, int] | None = None
    """File and line, where they are not those of the case."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, or what stands for none."""

    name: str
    line: int | None = None
    """Where the entry stands in the configuration; None of what is no entry."""
    wrong: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    skipped: str = ""
    """Why it was not looked at, in a word or two."""
    is_error: bool = False
    """Whether what is wrong kept the command from its answer."""


def of_check(report: Report, config: str, lock: str) -> Iterator[Case]:
    """Yield the cases of a check, given the paths of both files; of what no entry claims there is one only where it fails."""
    for model in report.models:
        yield Case(
            name=model.name,
            line=model.line,
            wrong=tuple(map(_of_difference, model.differences)),
            warnings=tuple(map(_of_difference, model.warnings)),
            skipped="retired" if model.verdict == "retired" else "",
        )
    if report.left_over:
        places = ((config, 1) if left.line is None else (lock, left.line) for left in report.left_over)
        problems = [
            _of_difference(each.difference, place) for each, place in zip(report.left_over, places, strict=True)
        ]
        yield Case(name="left over", wrong=problems)


def of_run(run: Run, names: Collection[str], beside: Mapping[str, Problem]) -> Iterator[Case]:
    """Yield the cases of a run, as far as it came; what could not be removed and is no entry's is one of its own.

    `beside` has, by entry, what made it fail without the run.
    """
    for name in names:
        record = run.records.get(name)
        yield Case(
            name=name,
            line=run.work.config.entries[name].line,
            wrong=[
                *(() if record is None else _wrong(record)),
                *([beside[name]] if name in beside else ()),
            ],
            warnings=() if record is None else list(_warnings(record)),
            skipped=_SKIPPED.get(became(run, name), ""),
        )
    if run.trouble:
        yield Case(name="left over", wrong=list(map(_of_error, run.trouble)))


def _wrong(record: EntryRun) -> Iterator[Problem]:
    for error in dict.fromkeys((record.error, record.stands)):
        if error is not None:
            yield _of_error(error)
    if record.withdrawn and record.error is None:
        what = "its handoff was withdrawn"
        why = "; ".join(reason.text for reason in record.why or () if not reason.follows)
        yield Problem(kind="withdrawn", what=what, text=f"{what} ({why})" if why else what)


def _warnings(record: EntryRun) -> Iterator[Problem]:
    found = record.verification
    if found is None or record.error is not None:
        return
    if found.fault is not None:
        what = "it was handed off all the same, because strict_verification is false"
        yield Problem(kind=type(found.fault).__name__, what=found.fault.what, text=f"{found.fault}\n  note      {what}")
    for part in found.parts:
        if part.outcome == "warn":
            what = f"no digest is expected{f' of {part.label}' if part.label else ''}"
            yield Problem(kind="digest", what=what, text=f"{what}\n  found     {part.digest}")


def of_error(error: Exception, config: str) -> Case:
    """Return the case of an error that kept a command from its answer."""
    if not isinstance(error, ProvisionError):  # doit words it
        problem = Problem(kind=type(error).__name__, what=str(error), text=str(error), place=(config, 1))
        return Case(name="models.yaml", wrong=[problem], is_error=True)
    faults = error.faults if isinstance(error, ConfigError) else (error,)
    file = error.path if isinstance(error, ConfigError) else config
    kind = type(error).__name__
    problems = [
        Problem(kind=kind, what=each.what, text=str(each), place=_place(each.where) or (os.path.abspath(file), 1))
        for each in faults
    ]
    return Case(name="models.yaml", wrong=problems, is_error=True)


def _place(where: str) -> tuple[str, int] | None:
    found = _PLACE.match(where)
    return found and (os.path.abspath(found["path"]), int(found["line"]))


def _of_difference(each: Difference, place: tuple[str, int] | None = None) -> Problem:
    return Problem(kind=each.kind, what=each.what, text=str(each), place=place)


def _of_error(error: ProvisionError) -> Problem:
    return Problem(kind=type(error).__name__, what=error.what, text=str(error))
