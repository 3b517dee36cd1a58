"""The command `doit model-check`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, expect_no_names, print_json, project_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model_provisioner.operations.check import Report
    from model_provisioner.operations.differences import Difference

WARNINGS = 10
"""How many warnings are shown: a project without a lock file has one for each model."""


class ModelCheck(Query):
    """`doit model-check`."""

    name = "model-check"
    doc_purpose = "tell whether a fresh build would give exactly the artifacts that are here"
    doc_usage = "[--full] [--json] [--junit FILE]"
    doc_description = (
        "Contacts nobody and changes nothing. Compares the lock file with models.yaml, the files with their digests, and the "
        "handoffs, checksum files and catalog rows with what would be written.\n\n"
        "Exit codes: 0 all is the same, 1 something differs, 2 something broke, 3 bad input, 130 interrupted."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "full",
            "long": "full",
            "type": bool,
            "default": False,
            "help": "ask no memo: SHA-256 of every byte",
        },
        {"name": "junit", "long": "junit", "type": str, "default": None, "help": "write a JUnit XML report to FILE"},
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Print a table of what differs, or JSON; write the report, and annotate where GitHub Actions reads along."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.cli import annotations as workflow
        from model_provisioner.errors import ProvisionError

        junit = None if opt_values["junit"] is None else os.path.abspath(opt_values["junit"])
        root = project_root()
        os.chdir(root)  # as `provision` does: a document of one model has paths from there
        # Workflow commands are read from both streams: JSON has one for itself.
        aside = sys.stderr if opt_values["json"] else sys.stdout
        try:
            report = _checked(root, junit, full=opt_values["full"])
        except ProvisionError as error:
            if workflow.are_wanted():
                _print_lines(workflow.of_error(error, _config(root)), aside)
            raise
        if opt_values["json"]:
            print_json(_as_json(report, full=opt_values["full"]))
        else:
            _print_lines(_table(report), sys.stdout)
            print(_summary(report, full=opt_values["full"]))
        if workflow.are_wanted():
            from model_provisioner.config.lockfile import LOCK_NAME

            _print_lines(workflow.of_report(report, _config(root), os.path.join(root, LOCK_NAME)), aside)
        return 0 if report.same else 1


def _checked(root: str, junit: str | None, *, full: bool) -> Report:
    """Check the project at `root`, and write the report to `junit`, also where there is no answer."""
    from model_provisioner.cli.progress import progress_for_stderr
    from model_provisioner.config.load import gc_paused
    from model_provisioner.errors import ProvisionError
    from model_provisioner.fs.state_folder import state_folder
    from model_provisioner.operations.check import check, open_to_check

    if junit is not None:
        from model_provisioner.cli.junit import check_place, render, render_error, write

        check_place(junit)
    progress = progress_for_stderr()
    try:
        with gc_paused():
            report = check(open_to_check(_config(root), state_folder(), progress), full=full)
    except ProvisionError as error:
        if junit is not None:
            write(junit, render_error(error))
        raise
    finally:
        progress.close()
    if junit is not None:
        write(junit, render(report))
    return report


def _config(root: str) -> str:
    from model_provisioner.plugin.names import CONFIG_NAME

    return os.path.join(root, CONFIG_NAME)


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
    from model_provisioner.errors import printable

    told = [(model.name, "", each) for model in report.models for each in model.differences]
    told += [("-", "", each.difference) for each in report.left_over]
    warned = [(model.name, "warning: ", each) for model in report.models for each in model.warnings]
    rows = [(_cut(printable(name)), level, each) for name, level, each in (*told, *warned[:WARNINGS])]
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
    from model_provisioner.plugin.names import shown

    fields = ("where", shown(each.where)), ("expected", each.expected), ("found", each.found), ("fix", each.fix)
    return ((label, text) for label, text in fields if text)


def _summary(report: Report, *, full: bool) -> str:
    count = len(report.models)
    parts = [
        f"{number} {word}"
        for word, number in (
            ("the same", sum(model.state == "same" for model in report.models)),
            ("retired", sum(model.state == "retired" for model in report.models)),
            ("different", sum(model.state == "differs" for model in report.models)),
            ("left over", len(report.left_over)),
        )
        if number
    ]
    would = "would" if report.same else "would not"
    models = f"{count} model{'' if count == 1 else 's'}: {', '.join(parts) or 'nothing to check'}"
    by = ", by SHA-256 of every byte" if full else ""
    return f"{models}; a fresh build {would} give exactly what is here{by}"


def _cut(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"


def _print_lines(lines: Iterable[str], stream: Any) -> None:
    text = "".join(f"{line}\n" for line in lines)
    stream.write(text)
    stream.flush()
