"""The program `model-provisioner`: the same commands as doit's, without doit and without a project's `dodo.py`.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import gc
import os
import sys

from model_provisioner.cli import declarations
from model_provisioner.cli.arguments import HELP, asks_for_help, asks_for_json, nearest, parse
from model_provisioner.cli.command import JSON
from model_provisioner.collector import collecting_seldom
from model_provisioner.errors import ProvisionError
from model_provisioner.invocation import PROGRAM, called_by_doit
from model_provisioner.invocation import command as called
from model_provisioner.settings import is_on

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.command import Command
    from model_provisioner.cli.reply.reply import Reply


def main() -> int:
    """Do what the command line says; return the exit code."""
    # What plugs into pydantic would be looked for in every installed package, and has no business in our models.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with collecting_seldom():
        code = run(sys.argv[1:])
    gc.freeze()  # all ends with the process: else Python, as it ends, goes through it again and again
    return code


def run(arguments: Sequence[str]) -> int:
    """Do what a line of arguments says; return the exit code."""
    called_by_doit(False)
    if arguments[:1] == [declarations.PROVISION.name]:
        try:
            names, options = parse(declarations.PROVISION, arguments[1:])
            if not names and nothing_to_do(options):
                return 0
        except ProvisionError:
            pass  # the long way tells
    from model_provisioner.cli.exit_codes import exit_code_of
    from model_provisioner.cli.reply.reply import Reply

    command = declarations.COMMANDS.get(arguments[0]) if arguments else None
    name, interrupted = (None, "interrupted") if command is None else (command.name, command.interrupted)
    reply = Reply(name, is_json=asks_for_json(command, arguments))
    return exit_code_of(lambda: _run(arguments, reply), interrupted=interrupted, reply=reply)


def nothing_to_do(options: dict[str, object]) -> bool:
    """Say that all models are current and return True, where the snapshot says so; False where a run has to look."""
    from time import monotonic

    began = monotonic()
    asked = {name for name, value in options.items() if value}
    if not asked <= {"offline", "quiet"} or is_on("MODEL_PROVISIONER_LOCKED"):
        return False  # the snapshot is of plain runs; where nothing is to be done, nothing is fetched either
    from model_provisioner.cli.project import find_config
    from model_provisioner.cli.summary import summary
    from model_provisioner.engine.snapshot.compare import look
    from model_provisioner.records.last_run import note_end
    from model_provisioner.store.last_use import touch

    config = find_config(os.getcwd())
    found = None if config is None else look(config)
    if config is None or found is None or found.left:
        return False
    touch(found.state, config)
    note_end(found.state, os.path.dirname(config))
    if not options["quiet"]:
        seconds = monotonic() - began
        try:
            text = summary(done=0, current=len(found.same), failed=0, retired=found.retired, seconds=seconds)
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, UnicodeEncodeError, AttributeError):
            return False  # nobody reads it, or not in these letters: the long way knows what to do
    return True


def _run(arguments: Sequence[str], reply: Reply) -> int:
    if not arguments or arguments[0] in {*HELP, "help"}:
        return _help([each for each in arguments[1:] if each not in {*HELP, f"--{JSON.long}"}], reply)
    if arguments[0] == "--version":
        from model_provisioner.version import __version__

        reply.say(f"{PROGRAM} {__version__}")
        reply.result = {"version": __version__}
        return 0
    command = _command(arguments[0])
    if asks_for_help(arguments[1:]):
        return _help([command.name], reply)
    names, options = parse(command, arguments[1:])
    return command.run(names, options, reply)


def _command(name: str) -> Command:
    from model_provisioner.errors import InputError

    if (found := declarations.COMMANDS.get(name)) is not None:
        return found
    near = nearest(name, [*declarations.COMMANDS, "help"])
    raise InputError(
        f"there is no command {name!r}"
        if not name.startswith("-")
        else f"there is no option {name!r} before a command",
        where="the command line",
        expected="one of " + ", ".join([*declarations.COMMANDS, "help"]),
        found=name,
        fix=f"did you mean {near}?" if near else f"see `{called('help')}`",
    )


def _help(names: Sequence[str], reply: Reply) -> int:
    from model_provisioner.cli.help import help_of, help_of_program

    text = help_of(_command(names[0])) if names else help_of_program(declarations.COMMANDS.values())
    reply.say(*text.splitlines())
    reply.result = {"help": text}
    return 0
