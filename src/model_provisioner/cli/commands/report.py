"""`report`: the models of a project as an HTML page, as JSON, or as presets of llama-server; or all as metrics."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_lines, relative, to_json
from model_provisioner.cli.output_file import STDOUT, OutputFile
from model_provisioner.cli.project import view_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.cli.summary import models
from model_provisioner.errors import InputError, SettingError, printable
from model_provisioner.invocation import command as called
from model_provisioner.invocation import named
from model_provisioner.operations.report import report
from model_provisioner.records.catalog.catalog import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply

_HEAD = 4096
_JSON = re.compile(rb'\{\n  "config": ".*",\n  "counts": \{\n    "current": ')


def run(
    reply: Reply, names: Sequence[str], *, output: str | None, presets: str | None, metrics: bool, force: bool
) -> int:
    """Write the page, or where a document is asked for the same as data; or write presets of llama-server, or metrics."""
    here = os.getcwd()
    if metrics and (presets is not None or reply.is_json):
        raise InputError(
            "--metrics is a text of its own, and no page",
            where="the command line",
            expected="--metrics alone or with -o FILE, or --presets FILE or --json without it",
            found="both",
            fix="run it twice, once with each",
        )
    if metrics:
        return _write_metrics(reply, output or STDOUT, here, force=force)
    if presets is not None and (output is not None or reply.is_json):
        raise InputError(
            "--presets is a file of its own, and no page",
            where="the command line",
            expected="--presets FILE alone, or -o FILE or --json without it",
            found="both",
            fix="run it twice, once with each",
        )
    if presets is not None:
        return _write_presets(reply, presets, here, force=force)
    if not (output := output or (STDOUT if reply.is_json else "")):
        raise InputError(
            f"{named('report')} has to be told where its page goes",
            where="the command line",
            expected="-o FILE, or -o - for standard output",
            found="no -o",
            fix=called("report -o report.html"),
        )
    target = None
    if output != STDOUT:
        target = OutputFile(os.path.join(here, output), "-o", named("report"), is_report, force)
        target.check()
    with view_project() as work:
        found = report(work, _made_at())
        reasons = {each.name: [reason for reason in each.reasons if not reason.follows] for each in found.models}
        reply.models = models_of(work, reasons, reasons=reasons)
    if reply.is_json:
        data = found.as_json()
        text = f"{to_json(data)}\n"
        reply.result = data if target is None else {"counts": data["counts"], "output": None}
    else:
        from model_provisioner.cli.report_page.document import page

        text = page(found)
    if target is None:
        reply.say_bytes(text.encode())  # UTF-8, as the page says of itself
        return 0
    fix = "fix that, or name another file after -o; a report that was there is as it was"
    path = target.write(text.encode(), what="the report could not be written", fix=fix)
    reply.result["output"] = path
    count = len(found.models)
    of_these = ((found.counts["failed"], "failed"), (found.counts["tolerated"], "failed but handed off"))
    told = "".join(f", {number:,} {word}" for number, word in of_these if number)
    reply.say(f"{printable(relative(path, here))}: {count:,} {models(count)}{told}")
    return 0


def _write_presets(reply: Reply, output: str, here: str, *, force: bool) -> int:
    from model_provisioner.operations.presets import is_presets, presets

    target = OutputFile(os.path.join(here, output), "--presets", named("report"), is_presets, force)
    if output != STDOUT:
        target.check()
    with view_project() as work:
        found = presets(work)
    print_lines((f"left out  {name}  {error}" for name, error in found.left_out.items()), sys.stderr)
    if output == STDOUT:
        reply.say_bytes(found.data)
        return 0
    fix = "fix that, or name another file after --presets; one that was there is as it was"
    path = target.write(found.data, what="the presets could not be written", fix=fix)
    count = len(found.names)
    told = f", {len(found.left_out):,} left out" if found.left_out else ""
    reply.say(f"{printable(relative(path, here))}: {count:,} {models(count)}{told}")
    return 0


def _write_metrics(reply: Reply, output: str, here: str, *, force: bool) -> int:
    from model_provisioner.cli.openmetrics import is_openmetrics, openmetrics
    from model_provisioner.fs.state_folder import state_folder
    from model_provisioner.operations.metrics import host_metrics

    target = OutputFile(os.path.join(here, output), "-o", named("report"), is_openmetrics, force)
    if output != STDOUT:
        target.check()
    found = host_metrics(state_folder())
    data = openmetrics(found)
    if output == STDOUT:
        reply.say_bytes(data)
        return 0
    fix = "fix that, or name another file after -o; metrics that were there are as they were"
    path = target.write(data, what="the metrics could not be written", fix=fix)
    count = sum(found.states.values())
    reply.say(f"{printable(relative(path, here))}: {count:,} {models(count)}")
    return 0


def is_report(data: bytes) -> bool:
    """Tell of the first bytes of a file whether it is a report of ours: a page, or JSON."""
    page = data.startswith(b"<!doctype html>") and b'<meta name="generator" content="model-provisioner ' in data[:_HEAD]
    return page or _JSON.match(data) is not None


def _made_at() -> str:
    """Return the time to be shown: now, or what `SOURCE_DATE_EPOCH` says, as reproducible builds have it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return now()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        raise SettingError(
            "SOURCE_DATE_EPOCH is no time",
            where="the environment",
            expected="the seconds since 1970, as a whole number",
            found=epoch,
            fix="set it to such a number, or unset it: then the report has the time of now",
        ) from None
