"""`retire`: take models out of service, and put them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_json
from model_provisioner.cli.project import entries_named, open_project, wrong_count
from model_provisioner.operations.retire import retire, unretire

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAID = {
    (False, True): "retired: no handoff, and provision skips it",
    (False, False): "was retired already",
    (True, True): "back in service: `doit provision` hands it off",
    (True, False): "was not retired",
}
"""What is said of a model, by `--undo` and whether it changed anything."""


def run(names: Sequence[str], *, json: bool, undo: bool) -> int:
    """Retire each model or put it back, or do nothing where a name is not known."""
    if not names:
        raise wrong_count("model-retire", "a NAME, or several", names)
    with open_project() as work:
        entries = entries_named(work, names)
        changed = (unretire if undo else retire)(work, entries)
    if json:
        return print_json(
            [{"name": entry.name, "retired": not undo, "changed": entry.name in changed} for entry in entries]
        )
    for entry in entries:
        print(f"{entry.name}  {_SAID[undo, entry.name in changed]}")
    return 0
