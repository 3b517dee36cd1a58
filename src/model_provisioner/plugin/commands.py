"""doit's `model-…` commands, made from their declarations in `cli/declarations.py`, and two in the place of doit's own.

doit imports this module for its help: only doit and what imports nothing stand at its top.
"""

from __future__ import annotations

import getopt
import os
from pprint import pformat
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from doit.cmd_base import Command as DoitCommand
from doit.cmd_base import DodoTaskLoader, DoitCmdBase, opt_depfile
from doit.cmd_dumpdb import DumpDB as DoitDumpDB
from doit.cmd_forget import Forget as DoitForget
from doit.cmdparse import CmdParseError
from doit.dependency import DatabaseException
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from model_provisioner.cli import declarations
from model_provisioner.cli.arguments import asks_for_help, asks_for_json, parse
from model_provisioner.cli.command import Command
from model_provisioner.cli.exit_codes import exit_code_of
from model_provisioner.invocation import called_by_doit, command_of_doit
from model_provisioner.plugin.names import model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model_provisioner.cli.command import Option
    from model_provisioner.cli.reply.reply import Reply

    Settings: TypeAlias = Mapping[str, Mapping[str, Any]]

_DOITS = (CmdParseError, InvalidCommand, InvalidDodoFile, InvalidTask)
"""Mistakes on the command line or in `dodo.py`, which doit words."""
_ENDINGS = ("", ".db", ".dat", ".dir", ".pag")
"""What the modules of dbm add to a name."""
_OF_THE_COMMAND_LINE = {
    *("outfile", "output", "junit", "presets", "force", "key", "verify", "public_key", "json", "scheduler", "to"),
    *("fleet", "digest", "state", "differs", "silent", "timeout", "jitter", "as_new", "take_over"),
}
"""Options that name files to write, keys to sign with or to believe, who reads the models, where they are sent, what is printed
and what a fleet's database is told: a clone's settings give none."""
_TYPES = {"flag": bool, "value": str, "values": list}


class ModelCommand(DoitCommand):  # type: ignore[misc]  # doit has no types
    """A command of ours in doit: its errors are one paragraph on stderr and an exit code."""

    declared: ClassVar[Command]

    def __init__(self, *args: Any, config: Settings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, config=of_a_project(config), **kwargs)

    def parse_execute(self, in_args: list[str]) -> int:
        """Answer; the options may come after the names."""
        called_by_doit(True)
        reply = reply_to(self.declared, in_args)
        return ended(lambda: self._run(in_args, reply), interrupted=self.declared.interrupted, reply=reply)

    def _run(self, arguments: list[str], reply: Reply) -> int:
        if asks_for_help(arguments):
            from model_provisioner.cli.help import help_of

            reply.say(*help_of(self.declared).splitlines())
            return 0
        settings, _ = self.cmdparser.parse([])  # those of the project, where it has some
        return self.declared.run(*parse(self.declared, arguments, settings), reply)


def reply_to(declared: Command, arguments: list[str]) -> Reply:
    """Return an empty reply to a line of arguments."""
    from model_provisioner.cli.reply.reply import Reply

    return Reply(declared.name, is_json=asks_for_json(declared, arguments))


def of_a_project(settings: Settings | None) -> Settings:
    """Return the settings of `doit.cfg` or `pyproject.toml` that count: a project may not say which files are replaced."""
    return {
        section: {name: value for name, value in values.items() if name not in _OF_THE_COMMAND_LINE}
        for section, values in (settings or {}).items()
    }


def check_state_file(name: str | None) -> None:
    """Raise `InputError` where a project's settings would have doit keep its state outside of the working directory."""
    from model_provisioner.errors import InputError

    root = os.path.realpath(os.getcwd())
    for path in (os.path.realpath(f"{name}{ending}") for ending in _ENDINGS) if name else ():
        if not path.startswith(f"{root.rstrip('/')}/"):
            raise InputError(
                "doit would keep its state outside of the project",
                where="dep_file of doit.cfg or of [tool.doit]",
                expected=f"a file in {root}",
                found=path,
                fix="take dep_file out, and it lies in the state folder; or name the file yourself after --db-file",
            )


def documented(declared: Command) -> tuple[str, str, str]:
    """Return what doit's help shows of a command: purpose, usage, description."""
    example = command_of_doit(f"{declared.name} {declared.example}")
    return declared.purpose, declared.usage, f"{declared.description}\n\nExample:\n{example}".lstrip()


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


def __getattr__(name: str) -> type[ModelCommand]:
    # doit asks for one of them when it runs it, and for all when it shows its help.
    declared = getattr(declarations, name.removeprefix("Model").upper(), None)
    if not name.startswith("Model") or not isinstance(declared, Command):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _command(declared)


def ended(command: Callable[[], int], *, interrupted: str, reply: Reply | None = None) -> int:
    """Run a command; return its exit code, however it ends. What doit itself words is raised for it to word."""
    return exit_code_of(lambda: _translated(command), interrupted=interrupted, reply=reply, passing=_DOITS)


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
            "the file in which doit keeps its state can't be used",
            where="the state folder, or what --db-file names",
            expected="a database that can be read and written",
            found=str(error),
            fix="free some space if its disk is full, wait if another run holds it; else delete it: that may be done at any "
            "time",
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


# ---- two of doit's own, which end in a traceback where ours end in a sentence


class Forget(DoitForget):  # type: ignore[misc]  # doit has no types
    """doit's `forget`. Without names it forgets the default tasks: where there are none, doit's would fail."""

    name = "forget"

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> None:
        if not forget_all and self.sel_tasks is None:
            raise InvalidCommand("no tasks are named, and the project has no default_tasks: name some, or add --all")
        from model_provisioner.plugin.done import Forgetting

        ours = [task.name for task in self.task_list if (model := model_of(task.name)) and model[0] == "verify"]
        doit: Any = self.dep_manager
        self.dep_manager: Any = Forgetting(doit, [name for name in ours if forget_all or doit.backend.in_(name)])
        super()._execute(forget_sub, forget_disable_default, forget_all)


class DumpDB(DoitCmdBase):  # type: ignore[misc]  # doit has no types
    """doit's `dumpdb`, which reads dbm files: this reads our backend's too, and finds the file where the project has it."""

    name = "dumpdb"
    doc_purpose = DoitDumpDB.doc_purpose
    doc_usage = DoitDumpDB.doc_usage
    doc_description = None
    base_options: ClassVar[tuple[Any, ...]] = (opt_depfile,)

    def parse_execute(self, in_args: list[str]) -> int:
        """Print what doit keeps of each task."""
        run = super().parse_execute
        return ended(lambda: int(run(in_args) or 0), interrupted="interrupted")

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Find the file and print it."""
        path = self._dep_file(opt_values)
        if not any(os.path.exists(path + ending) for ending in _ENDINGS):
            raise InvalidCommand(f"doit keeps nothing in {path}: no task was done yet, or --db-file names another file")
        _dump(path)
        return 0

    def _dep_file(self, params: Any) -> str:
        """Return the path of the file: as the command line says, or else the project's `dodo.py`, or its settings."""
        from model_provisioner.cli.project import CONFIG_NAME
        from model_provisioner.fs.paths import may_be_there
        from model_provisioner.plugin.loader import doit_config_here, less_the_users

        asked: str = params["dep_file"]
        if "dep_file" in params._non_default_keys:  # noqa: SLF001  doit has no public way to ask
            return asked
        settings: Mapping[str, Any] = {}
        if type(self.loader) is not DodoTaskLoader or os.path.exists(
            os.path.join(params["cwdPath"] or "", params["dodoFile"])
        ):
            self.loader.setup(params)
            settings = self.loader.load_doit_config()
        elif may_be_there(CONFIG_NAME):  # as `doit provision` does
            settings = less_the_users(doit_config_here(), self.config)
        return str(settings.get("dep_file", asked))


def _dump(path: str) -> None:
    from model_provisioner.cli.output import print_lines
    from model_provisioner.errors import StorageError
    from model_provisioner.plugin.backend import rows_in

    found = ""
    try:
        if (rows := rows_in(path)) is None:
            DoitDumpDB().execute({"dep_file": path}, [])
        else:
            print_lines(f"{task} -> {pformat(row, indent=4, width=100)}" for task, row in rows.items())
    except StorageError as error:
        found = error.what
    except Exception as error:  # noqa: BLE001  which it is depends on the modules of dbm that there are
        found = str(error)
    if found:
        raise StorageError(
            "the file in which doit keeps its state can't be printed",
            where=os.path.abspath(path),
            expected="a file of doit's backend dbm, or of our backend models",
            found=found,
            fix="name the file after --db-file; those of doit's backends json and sqlite3 are read by other programs",
        )
