"""`verify`: read again what was verified, and print a line for each model."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.output import note_read_here, warn_of_withdrawn
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, open_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.cli.summary import models
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.run import Run
from model_provisioner.errors import InputError, ProvisionError, printable
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.hashing.executors import window_for
from model_provisioner.hashing.threads import core_count
from model_provisioner.invocation import command as called
from model_provisioner.operations.audit import audit, plan, still_failed
from model_provisioner.settings import is_on
from model_provisioner.units import AGES, SIZES, human, parse_age, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.operations.audit import Audited, Due, Plan


def run(
    reply: Reply,
    names: Sequence[str],
    *,
    full: bool,
    store: bool,
    older_than: str | None,
    max_bytes: str | None,
    scheduler: str | None,
    quiet: bool,
) -> int:
    """Audit what is due, models or blobs of the store; print a line each, as it is done."""
    age = _amount(older_than, parse_age, "--older-than", AGES, "30d")
    size = _amount(max_bytes, _size, "--max-bytes", SIZES, "200GB")
    if store:
        if names:
            raise InputError(
                "--store audits all blobs of the store, and no models",
                where="the command line",
                expected="no names with --store",
                found=" ".join(names),
                fix=f"leave the names out; or `{called('verify --full ' + ' '.join(names))}` reads the files of these models",
            )
        from model_provisioner.cli.commands.verify_store import audit_store

        return audit_store(reply, older_than=age, max_bytes=size, scheduler=scheduler, quiet=quiet)
    rules = Rules(full=full, locked=is_on("MODEL_PROVISIONER_LOCKED"))
    window = window_for(scheduler)
    done: list[Audited] = []
    with (
        closing(progress_for_stderr()) as progress,
        open_project(rules=rules, progress=progress, window=window) as work,
    ):
        ensure_state_folder(work.state)
        entries = entries_named(work, names or work.config.entries)
        began = time.monotonic()
        planned = plan(work, entries, age)
        if names and planned.new:
            raise InputError(
                f"{planned.new[0]} was never provisioned: there is nothing to compare its bytes with",
                where=work.config.path,
                expected="a model with a recorded verification",
                found="none of it",
                fix=called(f"provision {planned.new[0]}"),
            )
        for due in planned.due:
            if due.ahead:
                print(
                    f"note: {due.entry.name} was last verified at {due.last}, which lies ahead of the clock: a clock went "
                    "back, and it counts as long ago",
                    file=sys.stderr,
                )
        told: set[str] = set()
        audited = Run(work)

        def tell(each: Audited) -> None:
            told.add(each.due.entry.name)
            if not quiet or isinstance(each.found, ProvisionError) or each.found.outcome == "fail":
                with progress.aside():
                    reply.say(_line(each, "audited" if full else "verified"))

        try:
            with closing(audit(audited, planned.due, size, core_count(), done)) as audits:
                for each in audits:
                    tell(each)
        except BaseException:
            progress.close()
            for each in done:
                if each.due.entry.name not in told:
                    tell(each)
            warn_of_withdrawn(audited, told)
            raise
        finally:
            place = {due.entry.name: number for number, due in enumerate(planned.due)}
            done.sort(key=lambda each: place[each.due.entry.name])
            note_read_here(window)
            _tell(reply, audited, planned, done)
        unread = [due.entry.name for due in _left(planned, done)]
        failed = still_failed(work, sorted([*unread, *planned.recent]))
    reply.result["still_failed"] = list(failed)
    for name, reason in failed.items():
        why = f": {printable(reason)}" if reason else ""
        reply.say(f"FAIL  {name}  failed before and was not read again{why}")
    codes = (each.found.exit_code for each in done if isinstance(each.found, ProvisionError))
    code = max(codes, default=1 if failed else 0)
    if not quiet or code:
        reply.say(_summary(planned, done, failed, time.monotonic() - began))
    return code


def _amount(
    text: str | None, parse: Callable[[str], int | None], option: str, expected: str, example: str
) -> int | None:
    """Return the value of an option, None where it was not given."""
    if not text:
        return None
    if (value := parse(text)) is None:
        raise InputError(
            f"{option} can't be read",
            where="the command line",
            expected=expected,
            found=text,
            fix=f"write it as in   {option} {example}",
        )
    return value


def _size(text: str) -> int | None:
    return parse_size(int(text) if text.isascii() and text.isdecimal() else text)


def _line(each: Audited, verified: str) -> str:
    name, found = each.due.entry.name, each.found
    if isinstance(found, ProvisionError):
        first, *rest = str(found).splitlines()
        gone = [] if may_be_there(each.due.entry.handoff) else ["its handoff was withdrawn"]
        return "\n      ".join([f"FAIL  {name}  {first}", *rest, *gone])
    if found.outcome == "fail":
        return f"FAIL! {name}  the digest differs, and strict_verification is false: it was handed off all the same"
    verb = {"hashed": "hashed", "xxh3": "confirmed by xxh3", "stat": "confirmed by stat"}[found.how]
    before = f"last {verified} {each.due.last}" if each.due.last else f"never {verified} before"
    return f"{found.outcome}  {name}  {verb} {human(found.size)} ({before})"


def _summary(planned: Plan, done: Sequence[Audited], before: Collection[str], seconds: float) -> str:
    failed = sum(isinstance(each.found, ProvisionError) for each in done)
    tolerated = sum(not isinstance(each.found, ProvisionError) and each.found.outcome == "fail" for each in done)
    counts = (
        (len(done) - failed - tolerated, "passed"),
        (tolerated, "tolerated"),
        (failed, "failed"),
        (len(before), "failed before"),
        (sum(due.entry.name not in before for due in _left(planned, done)), "left for the next audit"),
        (sum(name not in before for name in planned.recent), "audited before"),
        (len(planned.retired), "retired"),
        (len(planned.new), "never provisioned"),
    )
    total = sum(count for count, _ in counts)
    parts = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to audit"
    return f"{total} {models(total)}: {parts}; {human(sum(each.size for each in done))} ({seconds:.2f} s)"


def _left(planned: Plan, done: Sequence[Audited]) -> list[Due]:
    """Return what was due and was not audited."""
    names = {each.due.entry.name for each in done}
    return [due for due in planned.due if due.entry.name not in names]


def _tell(reply: Reply, run: Run, planned: Plan, done: Sequence[Audited]) -> None:
    """Put into the document what was audited until now."""
    names = sorted([due.entry.name for due in planned.due] + planned.recent + planned.retired + planned.new)
    how: dict[str, str | None] = {}
    for each in done:
        name, found = each.due.entry.name, each.found
        if isinstance(found, ProvisionError):
            reply.add_error(found, name)
        else:
            how[name] = found.how
            if found.fault is not None:
                reply.add_error(found.fault, name)
    reply.models = models_of(run.work, names, how=how)
    reply.result = {
        "audited": [
            {"name": each.due.entry.name, "last": each.due.last, "clock_went_back": each.due.ahead} for each in done
        ],
        "left": [due.entry.name for due in _left(planned, done)],
        "recent": planned.recent,
        "retired": planned.retired,
        "never_provisioned": planned.new,
        "read_bytes": sum(each.size for each in done),
        "still_failed": [],
    }
