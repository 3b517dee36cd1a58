"""Where doit's tasks come from: the project's own loader, and our tasks where that does not bring them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DodoTaskLoader, TaskLoader2
from doit.exceptions import InvalidDodoFile
from doit.loader import generate_tasks
from doit.task import Task

from model_provisioner.artifacts.state import ensure_state_folder, project_folder, state_folder
from model_provisioner.errors import ProvisionError
from model_provisioner.models.reference import LocalRef
from model_provisioner.plugin.checker import MD5Checker
from model_provisioner.plugin.session import CONFIG_NAME, begin, find_config
from model_provisioner.plugin.tasks import BASENAME, WITHDRAW, files_of, handoff_tasks, is_ours, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.plugin.session import Session
    from model_provisioner.tasks.workspace import Progress, Rules


def tasks_here() -> Iterator[dict[str, Any]]:
    """Yield the tasks of the `models.yaml` in the working directory or above; its faults are doit's bad input."""
    try:
        yield from tasks_of(config_here())
    except ProvisionError as error:
        raise InvalidDodoFile(str(error)) from error


def config_here() -> str:
    """Return the path of the nearest `models.yaml`."""
    path = find_config(os.getcwd())
    if path is None:
        raise InvalidDodoFile(
            f"no {CONFIG_NAME} here or in a folder above\n"
            f"  where     {os.getcwd()}\n"
            f'  fix       make a {CONFIG_NAME} that names a model: models: {{tiny: {{model_ref: "file:models/tiny.gguf"}}}}'
        )
    return path


def doit_config_here() -> dict[str, Any]:
    """Return the settings of doit that suit models: our checker, our state file, threads."""
    config: dict[str, Any] = {"check_file_uptodate": MD5Checker, "par_type": "thread"}
    path = find_config(os.getcwd())
    if path is None:
        return config
    state = state_folder()
    try:
        ensure_state_folder(state)
        folder = project_folder(state, os.path.dirname(path))
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except ProvisionError as error:
        raise InvalidDodoFile(str(error)) from error
    return {**config, "backend": "models", "dep_file": os.path.join(folder, "doit.db")}


class ModelsLoader(TaskLoader2):  # type: ignore[misc]  # doit has no types
    """The loader of a project without a `dodo.py`: `[tool.doit] loader = "models"`."""

    def load_doit_config(self) -> dict[str, Any]:
        """Return our settings, less those that the project's own files make."""
        return _less_the_users(doit_config_here(), self.config)

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """Return the tasks of the models."""
        return list(generate_tasks(BASENAME, tasks_here(), "make every model present, verified and handed off"))


class ProvisionLoader(TaskLoader2):  # type: ignore[misc]  # doit has no types
    """What `doit provision` runs: the project's own graph, our tasks, and the models that were asked for."""

    def __init__(self, inner: TaskLoader2, named: list[str], rules: Rules, progress: Progress) -> None:
        super().__init__()
        self._inner, self._named, self._rules, self._progress = inner, named, rules, progress
        self.session: Session
        self.cmd_options = inner.cmd_options
        self.config, self.cmd_names = inner.config, inner.cmd_names

    def setup(self, opt_values: Any) -> None:
        """Let the project's loader set up (without a `dodo.py` ours takes its place), then take back what is not confirmed.

        Nothing comes before that, not even the opening of doit's own state: a full disk there would end the run.
        """
        is_default = type(self._inner) is DodoTaskLoader and opt_values["dodoFile"] == "dodo.py"
        if is_default and not os.path.exists(os.path.join(opt_values["cwdPath"] or "", "dodo.py")):
            if opt_values["cwdPath"]:
                os.chdir(opt_values["cwdPath"])
            self._inner = ModelsLoader()
            self._inner.config, self._inner.cmd_names = self.config, self.cmd_names
        self._inner.setup(opt_values)
        self.session = begin(config_here(), rules=self._rules, progress=self._progress)
        entries = self.session.work.config.entries
        asked = [name for name in self._named if name in entries] if self._named else list(entries)
        self.session.sweep(asked, orphans=not self._named)

    def load_doit_config(self) -> dict[str, Any]:
        """Return the project's settings; only the checker is ours where it chose none."""
        config = dict(self._inner.load_doit_config())
        # Without our state file where there is a dodo.py: two state files would run the project's own tasks twice.
        return {**_less_the_users({"check_file_uptodate": MD5Checker}, self.config), **config}

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """Return all tasks, and let `cmd` select the models that were asked for and what they need."""
        tasks = list(self._inner.load_tasks(cmd, pos_args))
        names = {task.name for task in tasks}
        if BASENAME in names and WITHDRAW not in names:
            raise InvalidDodoFile(
                f"the project has a task '{BASENAME}' of its own\n"
                "  fix       rename it: that name is the one that model-provisioner's tasks need"
            )
        if BASENAME not in names:
            tasks += generate_tasks(BASENAME, tasks_here(), None)
        self._expect_changes(tasks)
        entries = self.session.work.config.entries
        asked = [name for name in pos_args if name in entries]
        rest = [name for name in pos_args if name not in entries]
        cmd.sel_tasks = rest if asked or rest else [BASENAME]
        if asked:
            # One group, so that doit comes to every verify task before it runs any: see `models:withdraw`.
            tasks.append(Task("_provision", None, task_dep=handoff_tasks(asked), has_subtask=True))
            cmd.sel_tasks = ["_provision", *rest]
        return tasks

    def _expect_changes(self, tasks: list[Task]) -> None:
        """Let the models that other tasks of this run may make be looked at when those are done, not before."""
        made = [os.path.abspath(target) for task in tasks for target in task.targets if not is_ours(task.name)]
        if not made:
            return
        for entry in self.session.work.config.entries.values():
            if isinstance(entry.ref, LocalRef):
                files = set(files_of(entry).values())
                if any(path in files or path.startswith(f"{entry.ref.path}/") for path in made):
                    self.session.look_again(entry.name)


def _less_the_users(ours: dict[str, Any], users: Any) -> dict[str, Any]:
    """Leave out what the project's configuration file sets: doit would let a loader's value win over it."""
    made = {**users.get("GLOBAL", {}), **users.get("provision", {})}
    return {name: value for name, value in ours.items() if name not in made}
