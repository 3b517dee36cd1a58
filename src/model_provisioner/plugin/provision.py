"""The command `doit provision`: doit's own `run`, with our tasks in its graph.

doit imports this module for its help: only doit and what imports nothing stand at its top.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing, contextmanager, suppress
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar

from doit.cmd_base import get_loader
from doit.cmd_run import Run
from doit.cmdparse import CmdParseError
from doit.doit_cmd import DoitConfig
from doit.exceptions import InvalidCommand

from model_provisioner.cli.arguments import asks_for_help, unknown_option
from model_provisioner.cli.command import Command, Option
from model_provisioner.cli.declarations import PROVISION
from model_provisioner.cli.exit_codes import Patient
from model_provisioner.invocation import called_by_doit
from model_provisioner.invocation import command as called
from model_provisioner.plugin.commands import (
    check_state_file,
    documented,
    doit_option,
    ended,
    of_a_project,
    options_first,
    reply_to,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from doit.task import Task

    from model_provisioner.cli.ci.report import CiReport
    from model_provisioner.cli.output_file import OutputFile
    from model_provisioner.cli.progress.lines import Lines
    from model_provisioner.cli.progress.screen import Screen
    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.engine.run import Run as ProjectRun
    from model_provisioner.plugin.commands import Settings
    from model_provisioner.plugin.tasks import ModelTasks

_DEFAULTS = {"continue": True, "par_type": "thread", "num_process": os.cpu_count() or 1, "reporter": "models"}


class Provision(Run):  # type: ignore[misc]  # doit has no types
    """`doit provision`: doit's `run`, for the models of the nearest `models.yaml` and what they need."""

    name = PROVISION.name
    doc_purpose, doc_usage, doc_description = documented(PROVISION)
    cmd_options: ClassVar[tuple[Any, ...]] = (
        *({**option, "default": _DEFAULTS.get(option["name"], option["default"])} for option in Run.cmd_options),
        *map(doit_option, PROVISION.options),
    )

    loader: Any
    _reply: Reply

    def __init__(self, cmds: Any = None, *, config: Settings | None = None, **kwargs: Any) -> None:
        self._cmds = cmds
        super().__init__(cmds=cmds, config=of_a_project(config), **kwargs)

    def get_reporters(self) -> dict[str, Any]:
        """Add the reporter of models to doit's own."""
        reporters: dict[str, Any] = super().get_reporters()
        self.cmdparser["reporter"].choices["models"] = "one line for each model that something was done for"
        return reporters

    def parse_execute(self, in_args: list[str]) -> int:
        """Run from the folder of `models.yaml`, under its settings of doit; end as our exit codes say."""

        def run() -> int:
            if asks_for_help(in_args):
                from model_provisioner.cli.help import help_of

                reply.say(*help_of(self._declared).splitlines())
                return 0
            command = self._in_project(in_args)
            command._reply = reply  # noqa: SLF001  of our own class
            if not any(argument.startswith("--db-file") for argument in in_args):
                check_state_file(command.config_vals.get("dep_file"))
            try:
                return int(Run.parse_execute(command, options_first(command.cmdparser, in_args)))
            except CmdParseError as error:
                raise self._refused(error) from None

        called_by_doit(True)
        reply = reply_to(PROVISION, in_args)
        return ended(run, interrupted=PROVISION.interrupted, reply=reply)

    @property
    def _declared(self) -> Command:
        """The command with doit's own options beside ours."""
        ours = {option.name: option for option in PROVISION.options}
        return Command(
            name=PROVISION.name,
            purpose=PROVISION.purpose,
            options=tuple(
                ours.get(each.name)
                or Option(
                    each.name,
                    " ".join((each.help % {"default": each.default}).split()),
                    "flag" if each.type is bool else "value",
                    "" if each.type is bool else each.metavar,
                    short=each.short,
                    long=each.long,
                )
                for each in self.cmdparser.options
                if each.long
            ),
            example=PROVISION.example,
            names="[NAME|TASK|TARGET...]",
            description=PROVISION.description,
        )

    def _refused(self, error: CmdParseError) -> Exception:
        """Word what doit's parser says of a wrong option: it would print all that there are as Python has them."""
        from model_provisioner.errors import InputError

        what = str(error).partition(" (parsing options")[0].rpartition(": ")[2]
        flag = what.removeprefix("option ").removesuffix(" not recognized")
        if what == f"option {flag} not recognized":
            return unknown_option(self._declared, flag)
        return InputError(
            what,
            where="the command line",
            expected="the options as its help shows them",
            found=what,
            fix=f"see `{called(f'help {PROVISION.name}')}`",
        )

    def execute(self, params: Any, args: list[str]) -> int:
        """Make our tasks part of the project's graph, then do as `run` does."""
        from model_provisioner.cli.ci.report import CiReport
        from model_provisioner.engine.rules import Rules
        from model_provisioner.hashing.executors import window_for
        from model_provisioner.plugin.loader import NothingToDo, ProvisionLoader
        from model_provisioner.settings import is_on

        began = time.monotonic()
        if params["par_type"] == "process":
            # doit leaves its processes behind after a signal, and each of them would read a model anew.
            sys.stderr.write("note: models are provisioned by threads; -P process is taken for -P thread\n")
            params["par_type"] = "thread"
        self._named, self._quiet = args, params["quiet"]
        rules = Rules(
            full=params["full"],
            require_digest=params["require_digest"],
            offline=params["offline"],
            locked=params["locked"] or is_on("MODEL_PROVISIONER_LOCKED"),
        )
        window = window_for(params["scheduler"])
        # Another reporter may want to hear of every task.
        self._whole = params["reporter"] != "models"
        self._always, self._stop = params["always"], not params["continue"]
        self._workers = max(1, params["num_process"])
        # The snapshot is of plain runs; where it says that nothing is to be done, nothing is fetched either.
        plain = rules in (Rules(), Rules(offline=True))
        ci = CiReport(PROVISION.name, params["junit"], force=params["force"])
        short = plain and not (self._whole or self._always or self._reply.is_json or params["junit"])

        def begin(config_path: str) -> ModelTasks:
            from model_provisioner.engine.run import Run as ProjectRun
            from model_provisioner.plugin.tasks import ProvisionTasks, ReportedTasks

            ci.config = config_path
            run = ProjectRun.begin(config_path, rules=rules, progress=self._progress, window=window)
            return ProvisionTasks(run) if self._whole else ReportedTasks(run)

        self.loader = ProvisionLoader(self.loader, args, begin, self._provision_before, short=short)
        with (
            ci.written(),
            closing(self.loader),
            self._output(params["outfile"], force=params["force"]) as self._stream,
            self._telling(ci),
        ):
            try:
                code = int(super().execute(params, args))
            except NothingToDo as found:
                from model_provisioner.cli.summary import summary
                from model_provisioner.fs.state_folder import state_folder
                from model_provisioner.store.last_use import touch

                touch(state_folder(os.path.dirname(found.config_path)), found.config_path)
                seconds = time.monotonic() - began
                if not self._quiet:
                    self._stream.write(
                        summary(done=0, current=found.count, failed=0, retired=found.retired, seconds=seconds)
                    )
                return 0
            except InvalidCommand as error:
                if error.not_found is None:
                    raise
                from model_provisioner.cli.project import unknown_name

                raise unknown_name(error.not_found, self.loader.models.run.work.config) from None
            code = self._finish(self.loader.models.run, code)
            if code in (0, 1) and not args and plain:
                from model_provisioner.engine.snapshot.remember import remember

                remember(self.loader.models.run, self.loader.dep_file, self.loader.found)
        ci.annotate()
        return code

    def _finish(self, run: ProjectRun, code: int) -> int:
        """Look at what doit's tasks may have left, and report what is lost; return the exit code."""
        from model_provisioner.cli.output import warn_of_withdrawn
        from model_provisioner.records.makers import note_makers

        note_makers(run.work.state, run.work.config.root, self.loader.makers)
        made = [name for name, tasks in self.loader.makers.items() if any(task.executed for task in tasks)]
        if left := [name for name in made if not run.record(name).asked]:
            run.sweep(left, orphans=False)
        run.finish()
        if run.lost:
            code = code or 1
        told = self._tally.told
        warn_of_withdrawn(run, told)
        for trouble in (*run.trouble, *(each.stands for each in run.stuck if each.stands and each.name not in told)):
            sys.stderr.write(f"ERROR: {trouble}\n")
            code = trouble.exit_code
        return code

    @contextmanager
    def _telling(self, ci: CiReport) -> Iterator[None]:
        """Say what was withdrawn, by name, where the run ends before its report: by a signal, by an error of doit's.

        However it ends, what became of the models is in the document and in the report for CI.
        """
        try:
            yield
        except BaseException:
            if (models := getattr(self.loader, "models", None)) is not None:
                from model_provisioner.cli.output import warn_of_withdrawn

                self._progress.close()
                warn_of_withdrawn(models.run, self._tally.told)
            raise
        finally:
            if (models := getattr(self.loader, "models", None)) is not None:
                from model_provisioner.cli.output import note_read_here
                from model_provisioner.plugin.document import fill_in

                note_read_here(models.run.work.window)
                fill_in(self._reply, ci, models.run, self._named, self._tally)

    @wraps(Run._execute)  # noqa: SLF001  doit reads the names of the options off the signature
    def _execute(self, *, outfile: Any, reporter: Any, **params: Any) -> int:
        if reporter != "models":
            from model_provisioner.plugin.tally import tallying

            kind = self.reporters[reporter] if isinstance(reporter, str) else reporter
            self._tally = tallying(kind)(self._stream, {"failure_verbosity": params["failure_verbosity"]})
        tally = self._tally
        if self._stop and any(record.error is not None for record in self.loader.models.run.records.values()):
            params["num_process"] = 0  # a task that reports it comes first, and none may begin beside it
        code = super()._execute(outfile=self._stream, reporter=tally, **params)
        return tally.exit_code if code else 0

    @cached_property
    def _progress(self) -> Screen | Lines:
        from model_provisioner.cli.progress import progress_for_stderr

        return progress_for_stderr()

    @cached_property
    def _tally(self) -> Any:
        """The reporter; ours until doit says which."""
        from model_provisioner.plugin.reporter import ModelReporter
        from model_provisioner.plugin.tally import tallying

        return tallying(ModelReporter)(self._stream, self.loader.models, self._progress, self._named, quiet=self._quiet)

    def _provision_before(self, models: ModelTasks, tasks: list[Task], names: list[str]) -> None:
        """Provision what doit need not be asked about; then its tasks report it, or there are none."""
        from model_provisioner.plugin.bulk import left_to_doit, provision_before, together
        from model_provisioner.plugin.done import is_forgotten, keep

        doit = self.dep_manager
        apart = left_to_doit(tasks, doit, names)
        records = [models.run.record(name) for name in names if name not in apart]
        current = {
            record.name
            for record in records
            if record.is_current and not self._always and not is_forgotten(doit, record.name)
        }
        with together(doit):
            for record in records:
                if record.name in current:
                    keep(models.run, record, doit)
        left = [record.name for record in records if record.name not in current]
        report = (lambda record: None) if self._whole else self._tally.done_before
        try:
            provision_before(models, left, doit, workers=self._workers, stop=self._stop, report=report)
        except BaseException:
            self._progress.close()
            raise
        if self._whole:
            return
        models.omitted |= {record.name for record in records if record.published}
        if not self._named:
            models.omitted |= current

    @contextmanager
    def _output(self, outfile: Any, *, force: bool) -> Iterator[Any]:
        if not isinstance(outfile, str) or outfile == "-":
            says = self._reply.is_json and not self._whole  # the document says what our reporter would
            yield Patient(None if says else sys.stdout)  # and not what it was when doit was imported
            return
        from model_provisioner.cli.output_file import OutputFile
        from model_provisioner.plugin.reporter import is_report

        named = os.path.join(os.getcwd(), outfile)
        stream = _opened(OutputFile(named, "-o", called(PROVISION.name), is_report, force))
        try:
            yield Patient(stream)
        finally:
            with suppress(OSError):
                stream.close()

    def _in_project(self, in_args: list[str]) -> Provision:
        """Go to the folder of `models.yaml`; return the command under the settings of doit that stand there.

        Who names a `dodo.py` or a folder knows where to go.
        """
        from model_provisioner.cli.project import find_config

        named = {"-f", "--file", "-d", "--dir"} & {argument.partition("=")[0] for argument in in_args}
        path = None if named or self.opt_vals else find_config(os.getcwd())
        if path is None or os.path.dirname(path) == os.getcwd():
            return self
        os.chdir(os.path.dirname(path))
        files = DoitConfig()
        files.loads([name for name in ("pyproject.toml", "doit.cfg") if os.path.exists(name)])
        config = files.as_dict()
        loader = get_loader(config, None, self._cmds)
        return Provision(task_loader=loader, config=config, bin_name=self.bin_name, cmds=self._cmds)


def _opened(output: OutputFile) -> TextIO:
    from model_provisioner.errors import InputError, StorageError

    try:
        return output.open()
    except StorageError as error:
        found = error.found
    except OSError as error:
        found = error.strerror or str(error)
    raise InputError(
        "the output file can't be written",
        where=output.named,
        expected="a file that you can write, in a folder that is there",
        found=found,
        fix="name another file after -o",
    ) from None
