"""Provision models beside doit's graph: three tasks cost doit more than a small model costs us.

doit is told what was done, so that its own commands, and plain runs of it, see the tasks as done. What fails is left to its
task, which reports the error.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from doit.task import Task

from model_provisioner.engine.batches import provision_in_batches
from model_provisioner.engine.fetch import is_present
from model_provisioner.errors import ProvisionError
from model_provisioner.plugin.backend import StateDB
from model_provisioner.plugin.checker import MD5Checker, are_watched, watch
from model_provisioner.plugin.names import BASENAME, STEPS, WITHDRAW, model_of
from model_provisioner.plugin.tasks import files_in, files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.examine import Verification
    from model_provisioner.plugin.session import Session


def provision_in_bulk(
    run: Session, tasks: Iterable[Task], doit: Any, workers: int, report: Callable[[str, dict[str, Any]], None]
) -> None:
    """Provision what is not current; `report` is told of each model that was done, and what its steps found.

    `tasks` are those of the project as its own loader made them, `doit` is what doit keeps its state by.
    """
    # Of what is omitted, nothing is asked: where one of ten thousand models changed, an entry is made for that one.
    skipped = run.omitted | run.retired
    asked = [run.entry(name) for name in run.work.config.entries if name not in skipped]
    apart = _apart(run, asked, tasks, doit)
    entries = [entry for entry in asked if entry.name not in apart]
    known = set(run.current)
    current = {entry.name for entry in entries if entry.name in known and _is_recorded(run, entry, doit)}
    run.omitted |= current
    left = [entry for entry in entries if entry.name not in current]
    try:
        for results in provision_in_batches(run.work, left, workers):
            _note(run, results, doit, report)
    except BaseException:
        doit.close()  # doit closes it only where its own runner was at work
        raise


def _apart(run: Session, entries: Iterable[Entry], tasks: Iterable[Task], doit: Any) -> set[str]:
    """Return the entries that doit has to look after.

    Those to be fetched, those with companions, ignored ones, those whose tasks were changed.
    """
    bound = {model[1] for task in tasks if (model := model_of(task.name)) is not None and _is_changed(task, *model)}

    def is_ignored(name: str) -> bool:
        return any(doit.backend.get(f"{BASENAME}:{step}:{name}", "ignore:") for step in STEPS)

    def is_to_be_fetched(entry: Entry) -> bool:
        return not entry.is_local and not is_present(run.work, entry)

    return {
        entry.name
        for entry in entries
        if entry.companions or entry.name in bound or is_ignored(entry.name) or is_to_be_fetched(entry)
    }


def _is_changed(task: Task, step: str, name: str) -> bool:
    """Tell whether a task of ours needs, or does, what we did not put there."""
    needs = (*task.task_dep, *task.wild_dep, *task.setup_tasks, *task.calc_dep)
    if any(need != WITHDRAW and (model_of(need) or ("", ""))[1] != name for need in needs) or task.getargs:
        return True
    actions = task._actions  # noqa: SLF001  the public ones are made of these, which takes a while
    made = len(actions), len(task.uptodate), len(task.targets), len(task.teardown)
    return made != (1, 1, 0 if step in {"fetch", "register"} else 1, 0) or not are_watched(task.file_dep)


def _is_recorded(run: Session, entry: Entry, doit: Any) -> bool:
    """Tell whether doit knows that the entry was verified, and with the bytes that it has."""
    task = f"{BASENAME}:verify:{entry.name}"
    if not doit.backend.in_(task):
        return False
    if not isinstance(doit.checker, MD5Checker):
        return True
    for shown, path in files_of(entry).items():
        state, known = doit.backend.get(task, shown), run.work.memo.known(path)
        if state is None or known is None or state[2] != known.sha256:
            return False
    return True


def _note(
    run: Session,
    results: dict[str, bool | ProvisionError | None],
    doit: Any,
    report: Callable[[str, dict[str, Any]], None],
) -> None:
    done: dict[str, dict[str, Any]] = {}
    with doit.backend.together() if isinstance(doit.backend, StateDB) else nullcontext():
        for name, result in results.items():
            if isinstance(result, ProvisionError):
                run.failed[name] = result
                run.look_again(name)
                continue
            found = run.work.verified.get(name)
            if result is None or found is None:
                run.look_again(name)  # another process did it: its task sees that nothing is left
                continue
            why = run.why.get(name)
            verified = why is None or any(reason.step == "verify" for reason in why)
            done[name] = {**(found.told() if verified else {}), "notes": list(found.facts.notes), "written": result}
            run.handed_off[name] = found
            _save(run.entry(name), found, doit)
    run.finished |= done.keys()
    for name, steps in done.items():
        report(name, steps)


def _save(entry: Entry, found: Verification, doit: Any) -> None:
    """Let doit record that the model was verified, as it does after the task."""
    files = files_in(found.files) if entry.ref.is_local else {}
    watch(files)
    task = Task(f"{BASENAME}:verify:{entry.name}", None, file_dep=list(files))
    task.values = task.result = found.told()
    doit.save_success(task)
