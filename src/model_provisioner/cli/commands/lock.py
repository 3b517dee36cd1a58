"""`lock`: write `models.lock`, or tell where it disagrees."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_json
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, open_project
from model_provisioner.cli.summary import models
from model_provisioner.engine.retention.usage import note_usage
from model_provisioner.operations.lock import drift, lock, write_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.errors import ProvisionError


def run(names: Sequence[str], *, json: bool, check: bool, upgrade: list[str]) -> int:
    """Write the file, or compare."""
    found: list[str] = []
    failed: dict[str, ProvisionError] = {}
    written = False
    with (
        closing(progress_for_stderr()) as progress,
        open_project(progress=progress, anew=() if check else upgrade) as work,
    ):
        entries_named(work, upgrade)
        if check:
            found = drift(work)
        else:
            new = lock(work, upgrade)
            failed, written = new.failed, write_lock(work, new)
            note_usage(work, {})
    if json:
        print_json({"drift": found, "written": written, "failed": {name: str(failed[name]) for name in failed}})
    elif found:
        print("\n".join(found))
    else:
        count = len(work.config.entries) - len(failed)
        state = "agrees" if check else "written" if written else "is as it was"
        for name, error in failed.items():
            first, _, rest = str(error).partition("\n")
            print(f"FAIL  {name}  {first}")
            print("".join(f"      {line}\n" for line in rest.splitlines()), end="")
        print(f"models.lock {state}: {count} {models(count)}" + (f", {len(failed)} failed" if failed else ""))
    return max((error.exit_code for error in failed.values()), default=int(bool(found)))
