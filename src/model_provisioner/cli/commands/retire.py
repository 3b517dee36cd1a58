"""`retire`: take models out of service, and put them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.project import entries_named, open_project, wrong_count
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.invocation import command as called
from model_provisioner.operations.retire import retire, unretire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply


def run(reply: Reply, names: Sequence[str], *, undo: bool) -> int:
    """Retire each model or put it back, or do nothing where a name is not known."""
    if not names:
        raise wrong_count("retire", "a NAME, or several", names)
    with open_project() as work:
        entries = entries_named(work, names)
        changed = (unretire if undo else retire)(work, entries)
        reply.models = models_of(work, [entry.name for entry in entries])
    reply.result = {"changed": [entry.name for entry in entries if entry.name in changed]}
    reply.say(*(f"{entry.name}  {_said(undo=undo, changed=entry.name in changed)}" for entry in entries))
    return 0


def _said(*, undo: bool, changed: bool) -> str:
    if undo:
        return f"back in service: `{called('provision')}` hands it off" if changed else "was not retired"
    return "retired: no handoff, and provision skips it" if changed else "was retired already"
