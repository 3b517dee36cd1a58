"""The command `doit model-report`."""

from __future__ import annotations

import os
import stat
import sys
from typing import Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, expect_no_names, project_root

STDOUT = "-"


class ModelReport(Query):
    """`doit model-report`."""

    name = "model-report"
    doc_purpose = (
        "make a page of the models: states, digests, when and how they were verified, disk use, what fails and why"
    )
    doc_usage = "-o FILE [--json]"
    doc_description = (
        "FILE is one HTML page that needs nothing else, or with --json the same as data; - is standard output. Nothing but "
        "FILE is written and no model is read.\n\n"
        "Exit codes: 0 whatever it says of the models, 2 something broke, 3 bad input, 130 interrupted."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "output",
            "short": "o",
            "long": "output",
            "type": str,
            "default": "",
            "help": "the file to write, - for standard output; with --json, standard output where it is left out",
        },
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Write the page, or print it."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.engine.workspace import look_at_workspace
        from model_provisioner.fs.state_folder import state_folder
        from model_provisioner.operations.report import report
        from model_provisioner.plugin.names import CONFIG_NAME, shown

        target = _target(opt_values["output"] or (STDOUT if opt_values["json"] else ""))
        here = os.getcwd()
        root = project_root()
        os.chdir(root)  # as `provision` does: a document of one model has paths from there
        found = report(look_at_workspace(os.path.join(root, CONFIG_NAME), state_folder()), _made_at())
        if opt_values["json"]:
            import json

            text = json.dumps(found.as_json(), indent=2, sort_keys=True) + "\n"
        else:
            from model_provisioner.cli.report_page.document import page

            text = page(found)
        if target == STDOUT:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode())  # UTF-8 as the page says of itself, whatever the terminal speaks
            sys.stdout.buffer.flush()
            return 0
        _write(target, text.encode())
        os.chdir(here)
        failed = sum(model.error is not None for model in found.models)
        count = len(found.models)
        says = f"{count:,} model{'' if count == 1 else 's'}" + (f", {failed:,} failed" if failed else "")
        from model_provisioner.errors import printable

        print(f"{printable(shown(target))}: {says}")
        return 0


def _target(output: str) -> str:
    """Return where to write to: a file's real path, so that a link stays one, or `STDOUT`. Raises `InputError`."""
    from model_provisioner.errors import InputError

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
    except OSError:  # not there: or what keeps it from being looked at keeps it from being written, which says so
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


def _write(path: str, data: bytes) -> None:
    from model_provisioner.errors import StorageError
    from model_provisioner.fs.atomic import write_atomically

    try:
        write_atomically(path, data)
    except StorageError as error:
        raise StorageError(
            "the report could not be written",
            where=path,
            found=error.found,
            fix="mend that, or name another file after -o; a report that was there is as it was",
        ) from None


def _made_at() -> str:
    """Return the time to be shown: now, or what `SOURCE_DATE_EPOCH` says, as reproducible builds have it."""
    from model_provisioner.records.catalog import now

    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return now()
    from datetime import UTC, datetime

    from model_provisioner.errors import InputError

    try:
        return datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        raise InputError(
            "SOURCE_DATE_EPOCH is no time",
            expected="the seconds since 1970, as a whole number",
            found=epoch,
            fix="set it to such a number, or unset it: then the report has the time of now",
        ) from None
