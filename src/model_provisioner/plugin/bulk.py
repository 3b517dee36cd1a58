"""Provision models before doit's graph: three tasks cost doit more than a small model costs us.

doit is told what was done, so that its own commands, and plain runs of it, see the tasks as done. What failed is kept for
its task, which reports the error.
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from model_provisioner.plugin.backend import StateDB
from model_provisioner.plugin.checker import MD5Checker, are_watched
from model_provisioner.plugin.done import files_in, save
from model_provisioner.plugin.names import BASENAME, STEPS, WITHDRAW, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from doit.task import Task

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.plugin.tasks import ModelTasks


def left_to_doit(tasks: Iterable[Task], doit: Any, names: Iterable[str]) -> set[str]:
    """Return the entries whose order doit decides: their tasks were changed by the project, or doit is to ignore them.

    `tasks` are the project's as its own loader made them, `doit` is what doit keeps its state by.
    """
    bound = {model[1] for task in tasks if (model := model_of(task.name)) is not None and _is_changed(task, *model)}

    def is_ignored(name: str) -> bool:
        return any(doit.backend.get(f"{BASENAME}:{step}:{name}", "ignore:") for step in STEPS)

    return bound | {name for name in names if name not in bound and is_ignored(name)}


def _is_changed(task: Task, step: str, name: str) -> bool:
    """Tell whether a task of ours needs, or does, what we did not put there."""
    needs = (*task.task_dep, *task.wild_dep, *task.setup_tasks, *task.calc_dep)
    if any(need != WITHDRAW and (model_of(need) or ("", ""))[1] != name for need in needs) or task.getargs:
        return True
    actions = task._actions  # noqa: SLF001  the public ones are made of these, which takes a while
    made = len(actions), len(task.uptodate), len(task.targets), len(task.teardown)
    return made != (1, 1, 0 if step in {"fetch", "register"} else 1, 0) or not are_watched(task.file_dep)


def together(doit: Any) -> AbstractContextManager[object]:
    """Let doit keep what it records in the block in one transaction, where its backend can."""
    return doit.backend.together() if isinstance(doit.backend, StateDB) else nullcontext()


def provision_before(
    models: ModelTasks,
    names: Iterable[str],
    doit: Any,
    *,
    workers: int,
    stop: bool,
    report: Callable[[EntryRun], None],
) -> None:
    """Provision entries; `report` is given each that was done. With `stop` no batch is begun after one that failed."""
    try:
        with closing(models.run.provision(names, workers)) as batches:
            for batch in batches:
                done = {record: _local_files(record) for record in batch if record.published}
                if isinstance(doit.checker, MD5Checker):
                    doit.checker.load(path for files in done.values() for path in files.values())
                with together(doit):
                    for record, files in done.items():
                        save(models.run, record, files, doit)
                for record in done:
                    report(record)
                if stop and any(record.error is not None for record in batch):
                    break
    except BaseException:
        doit.close()  # doit closes it only where its own runner was at work
        raise


def _local_files(record: EntryRun) -> dict[str, str]:
    """Return the files of the task of an entry by their paths as tasks name them: none of what is fetched."""
    if record.verification is None:
        return {}
    parts = zip(record.entry.parts, record.verification.parts, strict=True)
    return {name: path for part, found in parts if part.ref.is_local for name, path in files_in(found.files).items()}
