"""doit's `model-…` commands, made from their declarations in `cli/declarations.py`.

doit imports this module for its help: only doit and what imports nothing stand at its top.
"""

from __future__ import annotations

import getopt
from typing import TYPE_CHECKING, Any, ClassVar

from doit.cmd_base import Command as DoitCommand
from doit.cmdparse import CmdParseError
from doit.dependency import DatabaseException
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from model_provisioner.cli import declarations
from model_provisioner.cli.exit_codes import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.cli.declarations import Command, Option

_DOITS = (CmdParseError, InvalidCommand, InvalidDodoFile, InvalidTask)
"""Mistakes on the command line or in `dodo.py`, which doit words."""
_TYPES = {"flag": bool, "value": str, "values": list}


class ModelCommand(DoitCommand):  # type: ignore[misc]  # doit has no types
    """A command of ours in doit: its errors are one paragraph on stderr and an exit code."""

    declared: ClassVar[Command]

    def parse_execute(self, in_args: list[str]) -> int:
        """Answer; the options may come after the names."""
        run = super().parse_execute
        return ended(lambda: int(run(options_first(self.cmdparser, in_args))), interrupted=self.declared.interrupted)

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Do what the command is for."""
        return self.declared.run(pos_args, opt_values)


def documented(declared: Command) -> tuple[str, str, str]:
    """Return what doit's help shows of a command: purpose, usage, description."""
    return declared.purpose, declared.usage, f"{declared.description}\n\nExample:\n{declared.example}".lstrip()


def doit_option(option: Option) -> dict[str, Any]:
    """Return an option as doit declares it."""
    shown = " [default: %(default)s]" if option.kind == "flag" else ""
    return {
        "name": option.name,
        "short": option.short,
        "long": option.long,
        "type": _TYPES[option.kind],
        "default": option.default,
        "metavar": option.metavar or "ARG",
        "help": option.help.replace("%", "%%") + shown,
    }


def _command(declared: Command) -> type[ModelCommand]:
    purpose, usage, description = documented(declared)
    attributes = {
        "name": f"model-{declared.name}",
        "doc_purpose": purpose,
        "doc_usage": usage,
        "doc_description": description,
        "cmd_options": tuple(map(doit_option, declared.options)),
        "declared": declared,
    }
    return type(f"Model{declared.name.title()}", (ModelCommand,), attributes)


ModelList = _command(declarations.LIST)
ModelShow = _command(declarations.SHOW)
ModelWhy = _command(declarations.WHY)
ModelSchema = _command(declarations.SCHEMA)
ModelLock = _command(declarations.LOCK)
ModelCheck = _command(declarations.CHECK)
ModelVerify = _command(declarations.VERIFY)
ModelPrune = _command(declarations.PRUNE)
ModelRetire = _command(declarations.RETIRE)
ModelAttest = _command(declarations.ATTEST)
ModelReport = _command(declarations.REPORT)


def ended(command: Callable[[], int], *, interrupted: str) -> int:
    """Run a command; return its exit code, however it ends. What doit itself words is raised for it to word."""
    return exit_code_of(lambda: _translated(command), interrupted=interrupted, passing=_DOITS)


def _translated(command: Callable[[], int]) -> int:
    """Run a command; raise our own errors as they were before doit's took their place."""
    from model_provisioner.errors import ProvisionError, StorageError

    try:
        return command()
    except _DOITS as error:
        if isinstance(error.__cause__, ProvisionError):
            raise error.__cause__ from None
        raise
    except DatabaseException as error:
        raise StorageError(
            f"the file in which doit keeps its state can't be used: {error}",
            fix="free some space if its disk is full, wait if another run holds it; it may be deleted at any time",
        ) from None


def options_first(parser: Any, arguments: list[str]) -> list[str]:
    """Return the arguments with the options before the names, as doit's parser needs them."""
    try:
        options, names = getopt.gnu_getopt(arguments, parser.get_short(), parser.get_long())
    except getopt.GetoptError:
        return arguments  # options of a task, perhaps: doit says what it does not know
    valued = {f"--{name[:-1]}" for name in parser.get_long() if name.endswith("=")}
    flat = [
        part
        for option, value in options  # an empty value must stay one: it would be taken from what follows
        for part in ((f"{option}={value}",) if option in valued else (option, value) if value else (option,))
    ]
    return [*flat, "--", *names]
