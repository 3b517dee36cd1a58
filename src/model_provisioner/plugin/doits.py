"""Two of doit's own commands, in the place of theirs: they do what doit's do, and say in a sentence what ended in a traceback.

doit imports this module for its help: only doit and what imports nothing stand at its top.
"""

from __future__ import annotations

import os
from pprint import pformat
from typing import TYPE_CHECKING, Any, ClassVar

from doit.cmd_base import DodoTaskLoader, DoitCmdBase, opt_depfile
from doit.cmd_dumpdb import DumpDB as DoitDumpDB
from doit.cmd_forget import Forget as DoitForget
from doit.exceptions import InvalidCommand

from model_provisioner.plugin.commands import ended

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERRUPTED = "interrupted"
_ENDINGS = ("", ".db", ".dat", ".dir", ".pag")
"""What the modules of dbm add to a name."""


class Forget(DoitForget):  # type: ignore[misc]  # doit has no types
    """doit's `forget`. Without names it forgets the default tasks: where there are none, doit's would fail."""

    name = "forget"

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> None:
        if not forget_all and self.sel_tasks is None:
            raise InvalidCommand("no tasks are named, and the project has no default_tasks: name some, or add --all")
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
        return ended(lambda: int(run(in_args) or 0), interrupted=_INTERRUPTED)

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
