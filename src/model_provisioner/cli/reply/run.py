"""What the document of a run says, whichever of the two ways `provision` was called by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from model_provisioner.cli.reply.fields import models_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.engine.run import Run

Became = Literal["done", "current", "failed", "withdrawn", "retired", "left"]
_WORDS: tuple[Became, ...] = ("done", "current", "failed", "withdrawn", "retired", "left")


def became(run: Run, name: str) -> Became:
    """Tell what became of an entry: `left` is one that the run did not come to, or did not finish."""
    if name in run.retired:
        return "retired"
    if name in run.unchanged:
        return "current"
    record = run.records.get(name)
    if record is None:
        return "left"
    if record.error is not None:
        return "failed"
    if record.published:
        return "done"
    return "withdrawn" if record.withdrawn else "current" if record.is_current else "left"


def tell_run(reply: Reply, run: Run, names: Collection[str]) -> None:
    """Put into the document what became of these entries until now; `run` is still open."""
    of_each = {name: became(run, name) for name in names}
    records = {name: run.records[name] for name in names if name in run.records}
    how: dict[str, str | None] = {name: "stat" for name, word in of_each.items() if word == "current"}
    how |= {name: each.verification.how for name, each in records.items() if each.verification is not None}
    reasons = {
        name: [reason for reason in each.why if not reason.follows]
        for name, each in records.items()
        if each.why is not None
    }
    reasons |= {name: [] for name, word in of_each.items() if word == "current"}
    reply.models = models_of(run.work, names, how=how, reasons=reasons)
    for name, record in records.items():
        fault = None if record.verification is None else record.verification.fault
        if (error := record.error or fault) is not None:  # a fault alone was handed off all the same
            reply.add_error(error, name)
    for trouble in run.trouble:
        reply.add_error(trouble)
    for record in run.stuck:
        if record.stands is not None and record.stands is not record.error:
            reply.add_error(record.stands, record.name)
    words = list(of_each.values())
    reply.result = {
        "counts": {word: words.count(word) for word in _WORDS},
        "changed": [name for name, each in records.items() if each.changed],
        "withdrawn": [record.name for record in run.lost],
        "removed": list(run.orphans),
    }
