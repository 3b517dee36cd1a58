"""The commands that look and change nothing: `model-list`, `model-show`, `model-why`, `model-schema`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from doit.cmd_base import Command

from model_provisioner.plugin.ending import ended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.records.catalog import Model, Moved

OPT_JSON = {"name": "json", "long": "json", "type": bool, "default": False, "help": "print JSON"}
_OPT_PROVENANCE = {
    "name": "provenance",
    "long": "provenance",
    "type": bool,
    "default": False,
    "help": "print the in-toto statement of the model's last verification",
}
_OPT_ALL = {"name": "all", "long": "all", "type": bool, "default": False, "help": "all models of the machine"}


class Query(Command):  # type: ignore[misc]  # doit has no types
    """A command that answers on stdout; its errors are one paragraph on stderr and an exit code."""

    cmd_options: ClassVar[tuple[Any, ...]] = (OPT_JSON,)
    interrupted = "interrupted"
    """What is said where Ctrl-C, SIGTERM or SIGHUP ended it."""

    def parse_execute(self, in_args: list[str]) -> int:
        """Answer; the options may come after the names."""
        from model_provisioner.plugin.commands import interruptible, options_first

        run = super().parse_execute
        with interruptible():
            return ended(lambda: int(run(options_first(self.cmdparser, in_args))), interrupted=self.interrupted)


class ModelList(Query):
    """`doit model-list`."""

    name = "model-list"
    doc_purpose = "list the models of this project, or of the machine, with their states"
    doc_usage = "[--all] [--json]"
    cmd_options: ClassVar[tuple[Any, ...]] = (OPT_JSON, _OPT_ALL)

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Print a table, or a JSON list of rows."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.errors import printable
        from model_provisioner.fs.state_folder import state_folder
        from model_provisioner.plugin.shelf import shelf_here
        from model_provisioner.records.catalog import Catalog

        catalog = Catalog.reader(state_folder())
        rows = catalog.all() if opt_values["all"] else catalog.of_project(project_root())
        shelf = None if opt_values["all"] else shelf_here(rows)
        if opt_values["json"]:
            return print_json([row.as_json() | ({} if shelf is None else {"store": shelf.of(row)}) for row in rows])
        if not rows:
            print("no models are registered yet: run `doit provision`")
        for project in dict.fromkeys(row.project for row in rows):
            if opt_values["all"]:
                print(f"{printable(project) or 'registered by programs'}:")
            print(_table(row for row in rows if row.project == project))
        for line in shelf.lines() if shelf is not None else ():
            print(line)
        return 0


class ModelShow(Query):
    """`doit model-show NAME|ID`."""

    name = "model-show"
    doc_purpose = "show all that the catalog knows of a model"
    doc_usage = "NAME|ID [--json] | NAME --provenance"
    cmd_options: ClassVar[tuple[Any, ...]] = (OPT_JSON, _OPT_PROVENANCE)

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Print one field a line, or a JSON list of rows: an id may stand for several."""
        from model_provisioner.errors import InputError, UnknownModelError, printable
        from model_provisioner.fs.state_folder import state_folder
        from model_provisioner.records.catalog import Catalog

        if len(pos_args) != 1:
            raise InputError(
                "model-show takes one NAME or ID", found=f"{len(pos_args)} of them", fix="see `doit model-list`"
            )
        if opt_values["provenance"]:
            return _print_statement(pos_args[0])
        from dataclasses import asdict

        catalog = Catalog.reader(state_folder())
        root = project_root(required=False)
        row = None if root is None else catalog.get(root, pos_args[0])
        rows = [row] if row is not None else catalog.by_id(pos_args[0])
        if not rows:
            raise UnknownModelError(
                f"no model has the name or id {pos_args[0]!r}",
                where=catalog.path,
                fix="see `doit model-list`, or `doit model-list --all`",
            )
        histories = [catalog.history(row.project, row.name) for row in rows]
        if opt_values["json"]:
            return print_json(
                [
                    {**row.as_json(), "history": [asdict(moved) for moved in history]}
                    for row, history in zip(rows, histories, strict=True)
                ]
            )
        for number, (row, history) in enumerate(zip(rows, histories, strict=True)):
            if number:
                print()
            for name, value in _flat(row.as_json()):
                print(_field(name, printable(str(value))))
            print(_history(history), end="")
        return 0


class ModelWhy(Query):
    """`doit model-why [NAME…]`."""

    name = "model-why"
    doc_purpose = "say why a model would be provisioned again, or that it would not"
    doc_usage = "[NAME...] [--json]"

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Print the reasons of each model, by step."""
        from model_provisioner.engine.entry_run import EntryRun
        from model_provisioner.engine.up_to_date import explain
        from model_provisioner.engine.workspace import look_at_workspace
        from model_provisioner.errors import printable
        from model_provisioner.fs.state_folder import state_folder
        from model_provisioner.plugin.commands import unknown_name
        from model_provisioner.plugin.names import CONFIG_NAME

        root = project_root()
        os.chdir(root)  # as `provision` does: a document of one model has paths from there
        work = look_at_workspace(os.path.join(root, CONFIG_NAME), state_folder())
        for name in pos_args:
            if name not in work.config.entries:
                raise unknown_name(name, work.config)
        names = pos_args or list(work.config.entries)
        retired = work.catalog.retired(root)
        found = {name: [] if name in retired else explain(work, EntryRun(work.config.entries[name])) for name in names}
        if opt_values["json"]:
            return print_json(
                [
                    {
                        "name": name,
                        "current": not reasons,
                        "retired": name in retired,
                        "reasons": [{"step": reason.step, "text": reason.text} for reason in reasons],
                    }
                    for name, reasons in found.items()
                ]
            )
        for name, reasons in found.items():
            if name in retired:
                print(f"{name} is retired: nothing would be done")
                continue
            print(f"{name} would be provisioned again:" if reasons else f"{name} is current: nothing would be done")
            for reason in reasons:
                print(f"  {reason.step:<9} {printable(reason.text)}")
        return 0


class ModelSchema(Query):
    """`doit model-schema`."""

    name = "model-schema"
    doc_purpose = "print the JSON Schema of models.yaml, for editors"
    doc_usage = "> models.schema.json"

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Print the schema; it is JSON with and without `--json`."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.config.schema import json_schema

        return print_json(json_schema())


def _print_statement(name: str) -> int:
    from model_provisioner.engine.workspace import look_at_workspace
    from model_provisioner.fs.state_folder import state_folder
    from model_provisioner.plugin.attesting import statement_for
    from model_provisioner.plugin.commands import unknown_name
    from model_provisioner.plugin.names import CONFIG_NAME

    root = project_root()
    os.chdir(root)
    work = look_at_workspace(os.path.join(root, CONFIG_NAME), state_folder())
    if name not in work.config.entries:
        raise unknown_name(name, work.config)
    return print_json(statement_for(work, work.config.entries[name]))


def project_root(*, required: bool = True) -> Any:
    """Return the folder of the nearest `models.yaml`."""
    from model_provisioner.errors import InputError
    from model_provisioner.plugin.names import CONFIG_NAME, find_config

    path = find_config(os.getcwd())
    if path is None and required:
        raise InputError(
            f"no {CONFIG_NAME} here or in a folder above",
            where=os.getcwd(),
            fix="go to a project's folder, or ask for the whole machine: doit model-list --all",
        )
    return None if path is None else os.path.dirname(path)


def expect_no_names(command: str, names: list[str]) -> None:
    from model_provisioner.errors import InputError

    if names:
        raise InputError(f"{command} takes no names", found=" ".join(names), fix=f"see `doit help {command}`")


def _table(rows: Iterable[Model]) -> str:
    """Return the rows as a table of at most 80 columns, as long as a name has at most 26."""
    from model_provisioner.errors import printable
    from model_provisioner.units import human

    lines = [("NAME", "STATE", "CHECK", "SIZE", "TYPE", "DIGEST")]
    for row in rows:
        facts = row.metadata
        kind = " ".join(filter(None, (facts.architecture, facts.quantization))) if facts else ""
        digest = (row.digest or "").partition(":")[2][:12]
        size = "-" if row.size is None else human(row.size)
        lines.append((printable(row.name), row.lifecycle, row.outcome or "-", size, printable(kind)[:16], digest))
    rest = sum(max(len(line[column]) for line in lines) for column in range(1, 6)) + 10
    longest = max(20, 80 - rest)
    lines = [(line[0] if len(line[0]) <= longest else f"{line[0][: longest - 1]}…", *line[1:]) for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    aligns = "<<<><<"
    return "\n".join(
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, aligns, widths, strict=True)).rstrip()
        for line in lines
    )


def _field(name: str, value: str) -> str:
    """Return a field as a line, or as two where one would pass 80 columns."""
    line = f"{name:<28} {value}"
    return line if len(line) <= 80 else f"{name}\n    {value}"


def _history(moves: Iterable[Moved]) -> str:
    """Return a line for each state that a model came into, in the order in which it did."""
    from model_provisioner.errors import printable

    lines, last = ["history"], ""
    for moved in moves:
        back = " (the clock went back)" if moved.time < last else ""
        last = moved.time
        reason = f"  {moved.reason}" if moved.reason else ""
        lines.append(f"    {printable(f'{moved.time}  {moved.lifecycle:<7}{back}{reason}').rstrip()}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in (None, [], ()):
            yield f"{prefix}{name}", value


def print_json(value: object) -> int:
    import json

    print(json.dumps(value, indent=2, sort_keys=True))
    return 0
