"""What a task of the project depends on that uses a model: its engine is started anew when it would load something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doit.dependency import UptodateCalculator

from model_provisioner.fs.read import JSON_LIMIT, read_if_there
from model_provisioner.plugin.names import BASENAME
from model_provisioner.plugin.session import tasks_of_provision
from model_provisioner.records.handoff import loaded_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from doit.task import Task


class SameModel(UptodateCalculator):  # type: ignore[misc]  # doit has no types
    """An item of `uptodate`: the task comes after the model is handed off, and is done while its engine would load the same.

    The same are bytes, paths and companions. A handoff also moves with what is known of them: a digest that is pinned, a
    signature, another version of our header readers.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._needs = name, f"{BASENAME}:handoff:{name}"
        self._handoff = ""

    def configure_task(self, task: Task) -> None:
        """Let the task wait for the model's; doit calls it when it makes the task."""
        task.task_dep.append(self._needs)
        # A model for which nothing is left to do has no task under `doit provision`.
        if (models := tasks_of_provision()) is not None and (entry := models.run.work.config.entries.get(self._name)):
            self._handoff = entry.handoff

    def __call__(self, task: Task, values: Mapping[str, Any]) -> bool:
        """Tell whether what the handoff names is what it named when the task was last done."""
        handoff = self._handoff or self.tasks_dict[self._needs].targets[0]
        data = read_if_there(handoff, JSON_LIMIT)
        loaded = None if data is None else loaded_by(data)
        key = f"model:{self._name}"
        task.value_savers.append(lambda: {key: loaded})
        return loaded is not None and values.get(key) == loaded
