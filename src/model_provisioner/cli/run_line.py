"""What became of a model in a run, in one line or a paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.config.entries import pinned
from model_provisioner.errors import printable
from model_provisioner.invocation import command
from model_provisioner.units import human

if TYPE_CHECKING:
    from model_provisioner.engine.entry_run import EntryRun, Reason
    from model_provisioner.errors import ProvisionError

_VERBS = {"hashed": "hashed", "xxh3": "confirmed by xxh3", "stat": "confirmed by stat"}


def done_line(record: EntryRun, *, verified: bool) -> str:
    """Return what is said of a model that was done; `verified` tells whether its bytes were asked about.

    A model that is handed off although it should not be as it is has a paragraph; each line ends with a newline.
    """
    found = record.verification if verified else None
    reasons = record.why or []
    # The first step's reasons say it all: what follows from them is no news.
    why = record.origin or _told([_past(reason) for reason in reasons if reason.step == reasons[0].step])
    what = "recorded again" if found is None else f"{_VERBS[found.how]} {human(found.size)}"
    line = f"{'done' if found is None else found.outcome}  {record.name}  {what}" + (
        f" ({printable(why)})" if why else ""
    )
    if record.changed:
        line += f" → {printable(relative(record.entry.handoff))}"
    lines = [line]
    if found is not None and found.outcome == "warn":
        lines += [
            f"      no digest is expected{f' of {part.label}' if part.label else ''}; "
            f"`{command('lock')}` pins all models; to pin these bytes add   {pinned(asked, str(part.digest))}"
            for asked, part in zip(record.entry.parts, found.parts, strict=True)
            if part.outcome == "warn"
        ]
    elif found is not None and found.outcome == "fail":
        if any(part.outcome == "fail" for part in found.parts):
            first, rest = "THE DIGEST DIFFERS", []
            for part in found.parts:
                if part.outcome == "fail":
                    rest += [f"  {printable(part.label)}"] if part.label else []
                    rest += [f"  expected  {part.expected}", f"  found     {part.digest}"]
        else:
            first, *rest = str(found.fault).splitlines()
        lines[0] = f"FAIL! {record.name}  {first}, and strict_verification is false: it was handed off all the same"
        lines += [f"      {line}" for line in rest]
    notes = [*record.evicted, *(() if record.verification is None else record.verification.metadata.notes)]
    lines += [f"      note: {printable(note)}" for note in notes]
    return "".join(f"{line}\n" for line in lines)


def failed_line(name: str, error: ProvisionError, *, withdrawn: bool) -> str:
    """Return the paragraph for a model that failed."""
    first, *rest = str(error).splitlines()
    lines = [*rest, "its handoff was withdrawn"] if withdrawn else rest
    return f"FAIL  {name}  {first}\n" + "".join(f"      {line}\n" for line in lines)


def _told(reasons: list[str]) -> str:
    """Return reasons in one line, the same of several files once: `why` tells each."""
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        of, colon, text = reason.rpartition(": ")
        alike.setdefault(text, []).append(f"{of}{colon}")
    return "; ".join(
        f"{of[0]}{text}" if len(of) == 1 or not of[0] else f"{of[0][:-2]} and {len(of) - 1:,} more: {text}"
        for text, of in alike.items()
    )


def _past(reason: Reason) -> str:
    """Return the text of a reason for what is done by now."""
    return "it was made since this run began" if reason.missing else reason.text
