"""`why`: why a model would be provisioned again, or that it would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.project import entries_named, view_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.up_to_date import explain
from model_provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply


def run(reply: Reply, names: Sequence[str]) -> int:
    """Print the reasons of each model, by step."""
    with view_project() as work:
        entries = entries_named(work, names or work.config.entries)
        retired = work.catalog.retired(work.config.root)
        found = {entry.name: [] if entry.name in retired else explain(work, EntryRun(entry)) for entry in entries}
        reply.models = models_of(work, found, reasons=found)
    current = {name for name, reasons in found.items() if all(reason.holds for reason in reasons)} - retired
    reply.result = {"current": [name for name in found if name in current]}
    for name, reasons in found.items():
        if name in retired:
            head = f"{name} is retired: nothing would be done"
        elif name in current:
            head = f"{name} is current: nothing would be done"
        else:
            head = f"{name} would be provisioned again:"
        reply.say(head, *(f"  {reason.step:<9} {printable(reason.text)}" for reason in reasons))
    return 0
