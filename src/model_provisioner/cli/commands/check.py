"""`check`: whether a fresh build would give exactly what is here, as a table, JSON, JUnit XML and annotations."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.ci.cases import of_check
from model_provisioner.cli.ci.report import CiReport
from model_provisioner.cli.output import relative
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import enter_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.cli.summary import models
from model_provisioner.collector import gc_paused
from model_provisioner.config.lockfile import LOCK_NAME
from model_provisioner.errors import printable
from model_provisioner.operations.check import check, open_to_check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.operations.check import Report
    from model_provisioner.operations.differences import Difference

WARNINGS = 10
"""How many warnings are shown: a project without a lock file has one for each model."""


def run(reply: Reply, names: Sequence[str], *, full: bool, junit: str | None, force: bool) -> int:
    """Print what differs; write the JUnit report, and annotations where GitHub Actions reads them."""
    ci = CiReport("model-check", junit, force=force)
    ci.config = config = enter_project()
    with (
        ci.written(),
        closing(progress_for_stderr()) as progress,
        gc_paused(),
        closing(open_to_check(config, progress)) as work,
    ):
        report = check(work, full=full)
        reply.models = models_of(work, work.config.entries)
        reply.result = _in_document(report, full=full)
        if ci.is_wanted:
            ci.cases += of_check(report, config, os.path.join(os.path.dirname(config), LOCK_NAME))
    reply.say(*_table(report), _summary(report, full=full))
    ci.annotate()
    return 0 if report.same else 1


def _in_document(report: Report, *, full: bool) -> dict[str, Any]:
    return {
        "same": report.same,
        "full": full,
        "checked": [
            {
                "name": model.name,
                "verdict": model.verdict,
                "differences": list(map(_difference, model.differences)),
                "warnings": list(map(_difference, model.warnings)),
            }
            for model in report.models
        ],
        "left_over": [_difference(each.difference) for each in report.left_over],
    }


def _difference(each: Difference) -> dict[str, str | None]:
    return {name: value or None for name, value in vars(each).items()}


def _table(report: Report) -> Iterator[str]:
    """Yield what differs, and what is warned of, as a table; nothing where all is well."""
    differ = [(model.name, "", each) for model in report.models for each in model.differences]
    differ += [("-", "", each.difference) for each in report.left_over]
    warned = [(model.name, "warning: ", each) for model in report.models for each in model.warnings]
    rows = [(_cut(printable(name)), level, each) for name, level, each in (*differ, *warned[:WARNINGS])]
    if not rows:
        return
    width = max(5, *(len(name) for name, *_ in rows))
    yield f"{'MODEL':<{width}}  {'WHAT':<10}  WHY"
    for name, level, each in rows:
        yield f"{name:<{width}}  {each.kind:<10}  {level}{printable(each.what)}"
        for label, text in _fields(each):
            yield f"{'':<{width}}    {label:<8}  {printable(text)}"
    if len(warned) > WARNINGS:
        yield f"and {len(warned) - WARNINGS} more warnings, which --json has"


def _fields(each: Difference) -> Iterator[tuple[str, str]]:
    fields = ("where", relative(each.where)), ("expected", each.expected), ("found", each.found), ("fix", each.fix)
    return ((label, text) for label, text in fields if text)


def _summary(report: Report, *, full: bool) -> str:
    count = len(report.models)
    verdicts = [model.verdict for model in report.models]
    counts = (
        (verdicts.count("same"), "the same"),
        (verdicts.count("retired"), "retired"),
        (verdicts.count("differs"), "different"),
        (len(report.left_over), "left over"),
    )
    parts = ", ".join(f"{number} {word}" for number, word in counts if number) or "nothing to check"
    would = "would" if report.same else "would not"
    by = ", by SHA-256 of every byte" if full else ""
    return f"{count} {models(count)}: {parts}; a fresh build {would} give exactly what is here{by}"


def _cut(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"
