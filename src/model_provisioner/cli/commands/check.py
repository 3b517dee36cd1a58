"""`check`: whether a fresh build would give exactly what is here, as a table, JSON, JUnit XML and annotations."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli import github_annotations
from model_provisioner.cli.junit import is_report, render, render_error
from model_provisioner.cli.output import print_json, print_lines, relative
from model_provisioner.cli.output_file import STDOUT, OutputFile
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import enter_project
from model_provisioner.cli.summary import models
from model_provisioner.config.load import gc_paused
from model_provisioner.config.lockfile import LOCK_NAME
from model_provisioner.errors import InputError, ProvisionError, printable
from model_provisioner.operations.check import check, open_to_check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.operations.check import Report
    from model_provisioner.operations.differences import Difference

WARNINGS = 10
"""How many warnings are shown: a project without a lock file has one for each model."""


def run(names: Sequence[str], *, json: bool, full: bool, junit: str | None, force: bool) -> int:
    """Print what differs; write the JUnit report, and annotations where GitHub Actions reads them."""
    target = None
    if junit == STDOUT:
        raise InputError(
            "--junit takes the name of a file",
            where="the command line",
            expected="--junit FILE",
            found=junit,
            fix="--junit model-check.xml; --json is for standard output",
        )
    if junit is not None:
        target = OutputFile(os.path.join(os.getcwd(), junit), "--junit", "model-check", is_report, force)
    config = enter_project()
    # GitHub Actions reads annotations from both streams: with JSON on stdout, they go to stderr.
    aside = sys.stderr if json else sys.stdout
    try:
        report = _checked(config, target, full=full)
    except ProvisionError as error:
        if github_annotations.are_wanted():
            print_lines(github_annotations.of_error(error, config), aside)
        raise
    if json:
        print_json(_as_json(report, full=full))
    else:
        print_lines([*_table(report), _summary(report, full=full)])
    if github_annotations.are_wanted():
        lock = os.path.join(os.path.dirname(config), LOCK_NAME)
        print_lines(github_annotations.of_report(report, config, lock), aside)
    return 0 if report.same else 1


def _checked(config: str, junit: OutputFile | None, *, full: bool) -> Report:
    """Check the project of `config`; write the report to `junit`, also where the check has no answer."""
    if junit is None:
        return _check(config, full=full)
    junit.check()
    failed = {"what": "the JUnit report can't be written", "fix": "name another file after --junit"}
    try:
        report = _check(config, full=full)
    except ProvisionError as error:
        junit.write(render_error(error), **failed)
        raise
    junit.write(render(report), **failed)
    return report


def _check(config: str, *, full: bool) -> Report:
    with (
        closing(progress_for_stderr()) as progress,
        gc_paused(),
        closing(open_to_check(config, progress)) as work,
    ):
        return check(work, full=full)


def _as_json(report: Report, *, full: bool) -> dict[str, Any]:
    return {
        "same": report.same,
        "full": full,
        "models": [
            {
                "name": model.name,
                "state": model.state,
                "differences": [vars(each) for each in model.differences],
                "warnings": [vars(each) for each in model.warnings],
            }
            for model in report.models
        ],
        "left_over": [vars(each.difference) for each in report.left_over],
    }


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
    states = [model.state for model in report.models]
    counts = (
        (states.count("same"), "the same"),
        (states.count("retired"), "retired"),
        (states.count("differs"), "different"),
        (len(report.left_over), "left over"),
    )
    parts = ", ".join(f"{number} {word}" for number, word in counts if number) or "nothing to check"
    would = "would" if report.same else "would not"
    by = ", by SHA-256 of every byte" if full else ""
    return f"{count} {models(count)}: {parts}; a fresh build {would} give exactly what is here{by}"


def _cut(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"
