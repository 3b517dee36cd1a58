"""`lock`: write `models.lock`, or tell where it disagrees."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.output import models, print_json
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, open_project
from model_provisioner.engine.retention.usage import note_usage
from model_provisioner.operations.lock import drift, lock, write_lock

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(names: Sequence[str], *, json: bool, check: bool, upgrade: list[str]) -> int:
    """Write the file, or compare."""
    found: list[str] = []
    written = False
    with (
        closing(progress_for_stderr()) as progress,
        open_project(progress=progress, anew=() if check else upgrade) as work,
    ):
        entries_named(work, upgrade)
        if check:
            found = drift(work)
        else:
            written = write_lock(work, lock(work, upgrade))
            note_usage(work, {})
    if json:
        print_json({"drift": found, "written": written})
    elif found:
        print("\n".join(found))
    else:
        count = len(work.config.entries)
        state = "agrees" if check else "written" if written else "is as it was"
        print(f"models.lock {state}: {count} {models(count)}")
    return int(bool(found))
