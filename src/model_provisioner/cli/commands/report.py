"""`report`: the models of a project as an HTML page, or as JSON."""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.cli.output import models, relative, to_json, write_output
from model_provisioner.cli.project import view_project
from model_provisioner.errors import InputError, printable
from model_provisioner.operations.report import report
from model_provisioner.records.catalog import now

if TYPE_CHECKING:
    from collections.abc import Sequence

STDOUT = "-"


def run(names: Sequence[str], *, json: bool, output: str | None) -> int:
    """Write the page, or print it."""
    here = os.getcwd()
    target = _target(output or (STDOUT if json else ""))
    with view_project() as work:
        found = report(work, _made_at())
    if json:
        text = f"{to_json(found.as_json())}\n"
    else:
        from model_provisioner.cli.report_page.document import page

        text = page(found)
    if target == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())  # UTF-8, as the page says of itself, whatever the terminal's encoding
        sys.stdout.buffer.flush()
        return 0
    fix = "fix that, or name another file after -o; a report that was there is as it was"
    write_output(target, text.encode(), what="the report could not be written", fix=fix)
    count = len(found.models)
    failed = sum(model.error is not None for model in found.models)
    of_these = f", {failed:,} failed" if failed else ""
    print(f"{printable(relative(target, here))}: {count:,} {models(count)}{of_these}")
    return 0


def _target(output: str) -> str:
    """Return where to write to: a file's real path, so that a link stays one, or `STDOUT`. Raises `InputError`."""
    if output == STDOUT:
        return output
    if not output:
        raise InputError(
            "model-report has to be told where its page goes",
            expected="-o FILE, or -o - for standard output",
            found="no -o",
            fix="doit model-report -o report.html",
        )
    path = os.path.realpath(output)
    try:
        mode = os.stat(path).st_mode
    except OSError:  # not there; or it can't be written either, which says why
        mode = stat.S_IFDIR if output.endswith("/") else stat.S_IFREG
    if not stat.S_ISREG(mode):
        raise InputError(
            "the report can't be written there",
            where=path,
            expected="a file, or a name that is free",
            found="a folder" if stat.S_ISDIR(mode) else "something that is no file, and was left as it is",
            fix="name a file: doit model-report -o report.html",
        )
    return path


def _made_at() -> str:
    """Return the time to be shown: now, or what `SOURCE_DATE_EPOCH` says, as reproducible builds have it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return now()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        raise InputError(
            "SOURCE_DATE_EPOCH is no time",
            expected="the seconds since 1970, as a whole number",
            found=epoch,
            fix="set it to such a number, or unset it: then the report has the time of now",
        ) from None
