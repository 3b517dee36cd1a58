"""Where doit's tasks come from: the project's own loader, and our tasks where that does not load them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DodoTaskLoader, TaskLoader2
from doit.exceptions import InvalidDodoFile
from doit.loader import generate_tasks
from doit.task import Task

from model_provisioner.cli.exit_codes import prepare_streams
from model_provisioner.cli.project import find_config, find_file, no_config
from model_provisioner.collector import collecting_seldom
from model_provisioner.engine.snapshot.begin import sweep_what_moved
from model_provisioner.engine.snapshot.compare import doit_state, look
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.root import Roots
from model_provisioner.fs.state_folder import ensure_state_folder, project_folder, state_folder
from model_provisioner.fs.unreachable import STATE_SETTING, storage_error
from model_provisioner.invocation import called_by_doit
from model_provisioner.plugin.checker import MD5Checker
from model_provisioner.plugin.names import ASKED, BASENAME, WITHDRAW, is_ours, model_of
from model_provisioner.plugin.tally import PlainReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from model_provisioner.engine.snapshot.compare import Shortcut
    from model_provisioner.plugin.tasks import ModelTasks


def tasks_here() -> Iterator[dict[str, Any]]:
    """Yield the tasks of the `models.yaml` in the working directory or above; its faults are doit's bad input."""
    from model_provisioner.plugin.session import tasks_for

    called_by_doit(True)
    prepare_streams()  # doit's own commands print the names of our files, too
    try:
        yield from tasks_for(config_here())
    except ProvisionError as error:
        raise InvalidDodoFile(str(error)) from error


def config_here(start: str = ".") -> str:
    """Return the path of the nearest `models.yaml`, in `start` or above."""
    path = find_config(start)
    if path is None:
        error = no_config(start)
        raise InvalidDodoFile(str(error)) from error
    return path


def doit_config_here() -> dict[str, Any]:
    """Return the settings of doit that suit models: our checker, our state file, threads, our reporter."""
    config: dict[str, Any] = {
        "check_file_uptodate": MD5Checker,
        "par_type": "thread",
        "reporter": PlainReporter,
    }
    try:
        path = find_config(os.getcwd())
        if path is None:
            return config
        state = state_folder(os.path.dirname(path))
        ensure_state_folder(state)
        folder = project_folder(state, os.path.dirname(path))
        with Roots(state, kind=PrivateFolder) as roots:
            roots.make(folder)
    except OSError as error:
        worded = storage_error("the state folder can't be used", state, error, elsewhere=STATE_SETTING)
        raise InvalidDodoFile(str(worded)) from worded
    except ProvisionError as error:
        raise InvalidDodoFile(str(error)) from error
    return {**config, "backend": "models", "dep_file": os.path.join(folder, "doit.db")}


class ModelsLoader(TaskLoader2):  # type: ignore[misc]  # doit has no types
    """The loader of a project without a `dodo.py`: `[tool.doit] loader = "models"`."""

    def load_doit_config(self) -> dict[str, Any]:
        """Return our settings, less those that the project's own files make."""
        return less_the_users(doit_config_here(), self.config)

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """Return the tasks of the models."""
        return list(generate_tasks(BASENAME, tasks_here(), "make every model present, verified and handed off"))


class NothingToDo(Exception):  # noqa: N818  no error
    """The snapshot says that all models are current, and the project has no tasks beside them."""

    def __init__(self, count: int, retired: list[str], config_path: str) -> None:
        super().__init__()
        self.count, self.retired, self.config_path = count, retired, config_path


class ProvisionLoader(TaskLoader2):  # type: ignore[misc]  # doit has no types
    """What `doit provision` runs: the project's own graph, our tasks, and the models that were asked for."""

    models: ModelTasks
    found: Shortcut | None
    _config_path: str

    def __init__(
        self,
        inner: TaskLoader2,
        named: list[str],
        begin: Callable[[str], ModelTasks],
        provision: Callable[[ModelTasks, list[Task], list[str]], None],
        *,
        short: bool,
    ) -> None:
        """Take what begins the run of a configuration file, and what provisions entries before doit's graph.

        The second is given the project's own tasks and the names of the entries. `short` allows the way by the snapshot.
        """
        super().__init__()
        self._inner, self._named, self._begin_run, self._provision = inner, named, begin, provision
        self._short = short and not named
        self._collecting = ExitStack()
        self._alone = False
        """Whether the project has no tasks of its own."""
        self.makers: dict[str, list[Task]] = {}
        """The tasks of the project that may make or change the files of an entry, by its name."""
        self.dep_file: str | None = None
        self.cmd_options = inner.cmd_options
        self.config, self.cmd_names = inner.config, inner.cmd_names

    def close(self) -> None:
        """Close what the run opened."""
        self._collecting.close()
        if hasattr(self, "models"):
            self.models.run.close()

    def setup(self, opt_values: Any) -> None:
        """Withdraw what is not confirmed, then let the project's loader set up; without a `dodo.py` ours takes its place.

        Nothing comes before that: a mistake in `dodo.py` or a full disk under doit's own state would end the run.
        """
        dodo = opt_values.get("dodoFile") or ""  # other loaders have no such options
        folder = opt_values.get("cwdPath") or os.path.dirname(dodo) or "."
        is_default = type(self._inner) is DodoTaskLoader and dodo == "dodo.py"
        by_itself = type(self._inner) is ModelsLoader
        self._alone = by_itself or (is_default and not os.path.exists(os.path.join(folder, "dodo.py")))
        if opt_values.get("seek_file") and not self._alone:
            find_file(os.path.basename(dodo), os.path.dirname(os.path.abspath(dodo)))
        self._config_path = config_here(folder)
        self.found = look(self._config_path) if self._short else None
        if self.found is None or self.found.left or not self._alone:
            self._begin()
        if self._alone and not by_itself:
            os.chdir(folder)
            self._inner = ModelsLoader()
            self._inner.config, self._inner.cmd_names = self.config, self.cmd_names
        self._inner.setup(opt_values)
        self._options = opt_values

    def load_doit_config(self) -> dict[str, Any]:
        """Return the project's settings."""
        settings = dict(self._inner.load_doit_config())
        if settings.get("reporter") is PlainReporter:
            del settings["reporter"]  # it is for plain doit
        given: set[str] = getattr(self._options, "_non_default_keys", set())
        self.dep_file = self._options["dep_file"]
        if "dep_file" not in given:
            self.dep_file = settings.get("dep_file", self.dep_file)
        if self.found is not None:
            self._trust_or_look(self.found)
        # Without our state file where there is a dodo.py: two state files would run the project's own tasks twice.
        return {**less_the_users({"check_file_uptodate": MD5Checker}, self.config), **settings}

    def _trust_or_look(self, found: Shortcut) -> None:
        """End the run if nothing is left to do; examine what was to be omitted if doit forgot what it did."""
        if found.doit == doit_state(self._config_path, self.dep_file):
            if self._alone and not found.left:
                raise NothingToDo(len(found.same), found.retired, self._config_path)
            return
        if not hasattr(self, "models"):
            self._begin()
        run = self.models.run
        unchanged, run.unchanged = run.unchanged, frozenset()
        run.sweep(unchanged, orphans=False)

    def _begin(self) -> None:
        """Begin the run and sweep; of what the snapshot says is current, nothing is asked."""
        self._collecting.enter_context(collecting_seldom())
        self.models = self._begin_run(self._config_path)
        run = self.models.run
        entries = run.work.config.entries
        # A task or a target may need any model.
        asked = self._named if self._named and entries.keys() >= set(self._named) else entries
        orphans = not self._named or BASENAME in self._named
        self.found = sweep_what_moved(run, self.found, asked, orphans=orphans)

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """Return all tasks, and let `cmd` select the models that were asked for and what they need."""
        from model_provisioner.plugin.session import belonging_to
        from model_provisioner.plugin.tasks import handoff_tasks

        run = self.models.run
        with belonging_to(self.models):
            tasks = [] if self._alone else list(self._inner.load_tasks(cmd, pos_args))
            names = {task.name for task in tasks}
            if BASENAME in names and WITHDRAW not in names:
                raise InvalidDodoFile(
                    f"the project has a task '{BASENAME}' of its own\n"
                    "  fix       rename it: that name is the one that model-provisioner's tasks need"
                )
            whole = self._expect_changes(tasks)
            entries = run.work.config.entries
            asked = [name for name in pos_args if name in entries]
            rest = [name for name in pos_args if name not in entries]
            self._provision(self.models, tasks, self._before_the_graph(asked if asked or rest else list(entries)))
            done = self.models.omitted
            done |= run.unchanged
            if whole or BASENAME not in names:
                tasks = [task for task in tasks if not is_ours(task.name)]
                tasks += generate_tasks(BASENAME, tasks_here(), None)
            else:
                tasks = _without(tasks, done)
        if done:
            _release(tasks, done)
        wanted = [name for name in asked if name not in run.retired and name not in done]
        cmd.sel_tasks = rest if asked or rest else [BASENAME]
        _leave_out(tasks, run.retired)
        if asked:
            # One group, so that doit comes to every verify task before it runs any: see `models:withdraw`.
            wanted.sort(key=lambda name: run.record(name).error is None)
            tasks.append(Task(ASKED, None, task_dep=handoff_tasks(wanted), has_subtask=True))
            cmd.sel_tasks = [ASKED, *rest]
        return tasks

    def _before_the_graph(self, names: list[str]) -> list[str]:
        """Return which of these entries can be provisioned before doit's graph, as far as doit need not be asked."""
        run = self.models.run
        skipped = run.unchanged | run.retired
        return [name for name in names if name not in skipped and not run.record(name).awaited]

    def _expect_changes(self, tasks: list[Task]) -> bool:
        """Mark the entries whose files other tasks of this run may make: they are examined after those tasks.

        Return whether the graph has to be whole for that: then nothing is omitted any more.
        """
        made = [(os.path.abspath(target), task) for task in tasks for target in task.targets if not is_ours(task.name)]
        if not made:
            return False
        from model_provisioner.plugin.done import files_of
        from model_provisioner.references.reference import LocalRef

        run = self.models.run
        for entry in run.work.config.entries.values():
            if files := files_of(entry):
                below = tuple(f"{part.ref.path}/" for part in entry.parts if isinstance(part.ref, LocalRef))
                makers = [task for path, task in made if path in files.values() or path.startswith(below)]
                if makers:
                    self.makers[entry.name] = makers
        whole = not run.unchanged.isdisjoint(self.makers)
        if whole:
            unchanged, run.unchanged = run.unchanged, frozenset()
            run.sweep(unchanged, orphans=False)
        for name in self.makers:
            record = run.record(name)
            record.awaited = True
            record.changed_outside()
        return whole


def _without(tasks: list[Task], names: Collection[str]) -> list[Task]:
    """Leave out the tasks of entries for which nothing is left to do."""
    left = [task for task in tasks if (found := model_of(task.name)) is None or found[1] not in names]
    there = {task.name for task in left}
    for task in left:
        if task.name == BASENAME:
            task.task_dep = [name for name in task.task_dep if name in there]
    return left


def _leave_out(tasks: list[Task], retired: Collection[str]) -> None:
    """Take the tasks of retired models out of the group: only a task that needs one of them reaches it, and fails."""
    for task in tasks:
        if task.name == BASENAME:
            needs = task.task_dep
            needs[:] = [need for need in needs if (model := model_of(need)) is None or model[1] not in retired]


def _release(tasks: list[Task], done: Collection[str]) -> None:
    """Let no task wait for those of entries for which nothing is left to do: doit would stumble over what is not there."""
    for task in tasks:
        for needs in (task.task_dep, task.setup_tasks):
            needs[:] = [need for need in needs if (model := model_of(need)) is None or model[1] not in done]


def less_the_users(ours: dict[str, Any], users: Any) -> dict[str, Any]:
    """Leave out what the project's configuration file sets: doit would let a loader's value win over it."""
    made = {**users.get("GLOBAL", {}), **users.get("provision", {})}
    return {name: value for name, value in ours.items() if name not in made}
