"""The command `doit model-verify`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from model_provisioner.fs.paths import may_be_there
from model_provisioner.plugin.queries import OPT_JSON, Query, print_json, project_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.operations.audit import Audited, Plan


class ModelVerify(Query):
    """`doit model-verify`."""

    name = "model-verify"
    doc_purpose = "verify again what was verified, the longest unread first; --full finds silent corruption"
    doc_usage = "[NAME...] [--full] [--older-than AGE] [--max-bytes SIZE] [--json]"
    doc_description = (
        "A model loses its handoff while it is read, and gets it back if it passes. What was audited is kept, however the "
        "command ends: the next one goes on behind it.\n\n"
        "Exit codes: 0 all passed, 1 a model failed, 2 something broke, 3 bad input, 130 interrupted."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "full",
            "long": "full",
            "type": bool,
            "default": False,
            "help": "answer from no memo: SHA-256 of every byte [default: %(default)s]",
        },
        {
            "name": "older_than",
            "long": "older-than",
            "type": str,
            "default": "",
            "help": "leave out what was audited less than AGE ago, as 30d, 12h or 45m",
        },
        {
            "name": "max_bytes",
            "long": "max-bytes",
            "type": str,
            "default": "",
            "help": "end before SIZE is passed, as 50GB; the first model is audited whatever its size",
        },
    )

    interrupted = (
        "interrupted: what was audited is kept; the model that was being read has no handoff until the "
        "next `doit provision` or `doit model-verify`"
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Audit what is due; print a line each, as it is done."""
        from model_provisioner.cli.progress import progress_for_stderr
        from model_provisioner.engine.rules import Rules, is_true
        from model_provisioner.engine.run import Run
        from model_provisioner.engine.workspace import open_workspace
        from model_provisioner.fs.state_folder import ensure_state_folder
        from model_provisioner.operations.audit import audit, plan
        from model_provisioner.plugin.commands import unknown_name
        from model_provisioner.plugin.names import CONFIG_NAME
        from model_provisioner.units import AGES, SIZES, parse_age, parse_size

        older_than = _amount(opt_values["older_than"], parse_age, "--older-than", AGES)
        max_bytes = _amount(opt_values["max_bytes"], _size(parse_size), "--max-bytes", SIZES)
        rules = Rules(full=opt_values["full"], locked=is_true(os.environ.get("MODEL_PROVISIONER_LOCKED", "")))
        root = project_root()
        os.chdir(root)  # as `provision` does: a document of one model has paths from there
        progress = progress_for_stderr()
        work = open_workspace(os.path.join(root, CONFIG_NAME), rules=rules, progress=progress)
        ensure_state_folder(work.state)
        names = list(dict.fromkeys(pos_args)) or list(work.config.entries)
        for name in names:
            if name not in work.config.entries:
                raise unknown_name(name, work.config)
        began = time.monotonic()
        planned = plan(work, [work.config.entries[name] for name in names], older_than)
        if pos_args:
            _expect_known(work, planned)
        for due in planned.due:
            if due.ahead:
                print(
                    f"note: {due.entry.name} was last verified at {due.last}, which lies ahead of the clock: a clock went "
                    "back, and it counts as long ago",
                    file=sys.stderr,
                )
        done: list[Audited] = []
        try:
            for each in audit(Run(work), planned.due, max_bytes):
                done.append(each)
                if not opt_values["json"]:
                    with progress.aside():
                        print(_line(work, each), flush=True)
        finally:
            progress.close()
        failed = [each for each in done if isinstance(each.found, Exception)]
        if opt_values["json"]:
            print_json(_as_json(planned, done))
        else:
            print(_ending(planned, done, len(failed), time.monotonic() - began))
        return max((each.found.exit_code for each in failed if isinstance(each.found, Exception)), default=0)


def _size(parse: Callable[[Any], int | None]) -> Callable[[str], int | None]:
    return lambda text: parse(int(text) if text.isdecimal() and text.isascii() else text)


def _amount(text: str, parse: Callable[[str], int | None], option: str, expected: str) -> int | None:
    """Return what an option says, None where it was not given."""
    from model_provisioner.errors import InputError

    if not text:
        return None
    if (value := parse(text)) is None:
        raise InputError(
            f"{option} can't be read", expected=expected, found=text, fix=f"see `doit help {ModelVerify.name}`"
        )
    return value


def _expect_known(work: Workspace, planned: Plan) -> None:
    """Raise an error for a model that was named, and of which there is nothing to compare with."""
    from model_provisioner.errors import InputError

    for name in planned.new:
        raise InputError(
            f"{name} was never provisioned: there is nothing to compare its bytes with",
            where=work.config.path,
            fix=f"doit provision {name}",
        )


def _line(work: Workspace, each: Audited) -> str:
    from model_provisioner.units import human

    name, found = each.due.entry.name, each.found
    if isinstance(found, Exception):
        first, _, rest = str(found).partition("\n")
        gone = "" if may_be_there(each.due.entry.handoff) else "      its handoff was withdrawn\n"
        return (f"FAIL  {name}  {first}\n" + "".join(f"      {line}\n" for line in rest.splitlines()) + gone).rstrip()
    verb = {"hashed": "hashed", "xxh3": "confirmed by xxh3", "stat": "confirmed by stat"}[found.how]
    word = "audited" if work.rules.full else "verified"
    before = f"last {word} {each.due.last}" if each.due.last else f"never {word} before"
    if found.outcome == "fail":
        return f"FAIL! {name}  the digest differs, and strict_verification is false: it was handed off all the same"
    return f"{found.outcome}  {name}  {verb} {human(found.size)} ({before})"


def _ending(planned: Plan, done: list[Audited], failed: int, seconds: float) -> str:
    from model_provisioner.units import human

    left = len(planned.due) - len(done)
    tolerated = sum(not isinstance(each.found, Exception) and each.found.outcome == "fail" for each in done)
    counts = (
        (len(done) - failed - tolerated, "passed"),
        (tolerated, "tolerated"),
        (failed, "failed"),
        (left, "left for the next audit"),
        (len(planned.recent), "audited before"),
        (len(planned.retired), "retired"),
        (len(planned.new), "never provisioned"),
    )
    total = sum(count for count, _ in counts)
    parts = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to audit"
    return f"{total} model{'' if total == 1 else 's'}: {parts}; {human(_bytes(done))} ({seconds:.2f} s)"


def _bytes(done: Iterable[Audited]) -> int:
    return sum(each.size for each in done)


def _as_json(planned: Plan, done: list[Audited]) -> dict[str, Any]:
    from model_provisioner.errors import DigestMismatchError

    models = []
    told: dict[str, object]
    for each in done:
        found = each.found
        if isinstance(found, Exception):
            told = {"outcome": "fail" if isinstance(found, DigestMismatchError) else "error", "error": str(found)}
        else:
            told = {**found.told(), "error": None}
        models.append({"name": each.due.entry.name, "last": each.due.last, "clock_went_back": each.due.ahead, **told})
    return {
        "audited": models,
        "left": [due.entry.name for due in planned.due[len(done) :]],
        "recent": planned.recent,
        "retired": planned.retired,
        "never_provisioned": planned.new,
        "bytes": _bytes(done),
    }
