"""`lock`: write `models.lock`, or tell where it disagrees."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, open_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.cli.summary import models
from model_provisioner.engine.retention.usage import note_usage
from model_provisioner.operations.lock import NewLock, drift, lock, write_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.errors import ProvisionError


def run(reply: Reply, names: Sequence[str], *, check: bool, upgrade: list[str]) -> int:
    """Write the file, or compare."""
    found: list[str] = []
    new = NewLock({}, {})
    written = False
    with (
        closing(progress_for_stderr()) as progress,
        open_project(progress=progress, anew=() if check else upgrade) as work,
    ):
        entries_named(work, upgrade)
        reply.models = models_of(work, work.config.entries)
        if check:
            found = drift(work)
        else:
            try:
                lock(work, new, upgrade)
            finally:  # what was found until then is told, however it ends
                _tell_failed(reply, new.failed)
            written = write_lock(work, new)
            note_usage(work, {})
    reply.result = {"drift": found, "written": written}
    if found:
        reply.say(*found)
    else:
        count = len(work.config.entries) - len(new.failed)
        state = "agrees" if check else "written" if written else "is as it was"
        failed = f", {len(new.failed)} failed" if new.failed else ""
        reply.say(f"models.lock {state}: {count} {models(count)}{failed}")
    return max((error.exit_code for error in new.failed.values()), default=int(bool(found)))


def _tell_failed(reply: Reply, failed: Mapping[str, ProvisionError]) -> None:
    for name, error in failed.items():
        reply.add_error(error, name)
        first, *rest = str(error).splitlines()
        reply.say(f"FAIL  {name}  {first}", *(f"      {line}" for line in rest))
