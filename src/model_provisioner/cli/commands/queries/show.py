"""`show`: all that the catalog knows of a model."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.output import to_json
from model_provisioner.cli.project import (
    entries_named,
    find_config,
    state_folder_here,
    telling_faults,
    view_project,
    wrong_count,
)
from model_provisioner.cli.reply.fields import model_fields, models_of, row_fields
from model_provisioner.errors import UnknownModelError, printable
from model_provisioner.invocation import command as called
from model_provisioner.records.catalog.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.records.catalog.catalog import Transition


def run(reply: Reply, names: Sequence[str], *, provenance: bool) -> int:
    """Print one field a line, row by row: an id may be that of several."""
    if len(names) != 1:
        raise wrong_count("show", "one NAME or ID", names)
    if provenance:
        from model_provisioner.cli.commands.attest import statement_for

        with view_project() as work:
            (entry,) = entries_named(work, names)
            reply.models = models_of(work, [entry.name])
            reply.result = {"statement": statement_for(work, entry)}
        reply.say(to_json(reply.result["statement"]))
        return 0
    config, state = find_config(os.getcwd()), state_folder_here()
    if config is not None:
        with telling_faults(reply), view_project():
            pass
    with closing(Catalog.reader(state)) as catalog:
        row = None if config is None else catalog.get(os.path.dirname(config), names[0])
        rows = [row] if row is not None else catalog.by_id(names[0])
        found = [(row, catalog.history(row.project, row.name)) for row in rows]
    if not found:
        raise UnknownModelError(
            f"no model has the name or id {names[0]!r}",
            where=catalog.path,
            expected="a name of this project's, or an id of any",
            found="no row of it",
            fix=f"see `{called('list')}`, or `{called('list --all')}`",
        )
    reply.models = [model_fields(row.name, row.id, row) for row, _ in found]
    reply.result = {
        "catalog": [row_fields(row) | {"history": [moved.as_json() for moved in moves]} for row, moves in found]
    }
    reply.say(*"\n".join(_in_lines(row.as_json(), moves) for row, moves in found).splitlines())
    return 0


def _in_lines(fields: dict[str, Any], moves: Sequence[Transition]) -> str:
    lines = [_field(name, *_printable(name, str(value))) for name, value in _flat(fields)]
    if moves:
        lines += ["history", *_history(moves)]
    return "".join(f"{line}\n" for line in lines)


def _printable(name: str, value: str) -> list[str]:
    """Return the lines of a value: of a reason those of the message that it is, of anything else one."""
    return [printable(line) for line in (value.split("\n") if name == "reason" else [value])]


def _field(name: str, *values: str) -> str:
    """Return a field as a line, or below its name where that would be longer than 80 columns, or has several lines."""
    line = f"{name:<28} {values[0]}"
    return line if len(values) == 1 and len(line) <= 80 else "\n    ".join([name, *values])


def _history(moves: Iterable[Transition]) -> Iterable[str]:
    """Yield a line for each state that a model came into, in the order in which it did."""
    last = ""
    for moved in moves:
        back = " (the clock went back)" if moved.time < last else ""
        last = moved.time
        reason = f"  {moved.reason}" if moved.reason else ""
        yield f"    {printable(f'{moved.time}  {moved.lifecycle:<7}{back}{reason}').rstrip()}"


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in (None, [], ()):
            yield f"{prefix}{name}", value
