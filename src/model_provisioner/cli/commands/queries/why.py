"""`why`: why a model would be provisioned again, or that it would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_json
from model_provisioner.cli.project import entries_named, view_project
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.up_to_date import explain
from model_provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(names: Sequence[str], *, json: bool) -> int:
    """Print the reasons of each model, by step."""
    with view_project() as work:
        entries = entries_named(work, names or work.config.entries)
        retired = work.catalog.retired(work.config.root)
        found = {entry.name: [] if entry.name in retired else explain(work, EntryRun(entry)) for entry in entries}
    if json:
        return print_json(
            [
                {
                    "name": name,
                    "current": all(reason.holds for reason in reasons),
                    "retired": name in retired,
                    "reasons": [{"step": reason.step, "text": reason.text} for reason in reasons],
                }
                for name, reasons in found.items()
            ]
        )
    for name, reasons in found.items():
        if name in retired:
            print(f"{name} is retired: nothing would be done")
        else:
            current = all(reason.holds for reason in reasons)
            print(f"{name} is current: nothing would be done" if current else f"{name} would be provisioned again:")
        for reason in reasons:
            print(f"  {reason.step:<9} {printable(reason.text)}")
    return 0
