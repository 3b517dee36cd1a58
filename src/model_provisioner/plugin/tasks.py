"""The tasks of a project's models, as dictionaries for doit, and the actions behind them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskError, TaskFailed

from model_provisioner.engine.fetch import fetch, is_present
from model_provisioner.engine.register import register, row_of
from model_provisioner.engine.run import hand_off
from model_provisioner.engine.verify import verify
from model_provisioner.engine.withdraw import check_place, fail, has_orphans, retired_error, withdraw
from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.fs.fileset import discover
from model_provisioner.plugin.checker import watch
from model_provisioner.plugin.names import BASENAME, WITHDRAW, shown
from model_provisioner.plugin.session import Session, session
from model_provisioner.references.reference import LocalRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.examine import Verification
    from model_provisioner.engine.up_to_date import Step
    from model_provisioner.fs.fileset import FileSet


def tasks_of(config_path: str) -> Iterator[dict[str, Any]]:
    """Yield the tasks of every entry, in the group `models`."""
    run = session(config_path)
    yield {
        "basename": BASENAME,
        "name": None,
        "doc": "make every model of models.yaml present, verified and handed off",
    }
    for name in run.work.config.entries:
        if name not in run.omitted and name not in run.finished:
            yield from _tasks_of_entry(config_path, run.entry(name))
    # Last in the group: doit comes to it when it has asked every verify task whether it has work to do. It is also set
    # up for each of them that has, so that all handoffs that can't be confirmed go before the first byte is read.
    yield _task(
        "withdraw",
        "remove the handoffs that can't be confirmed",
        (_withdraw, (config_path,)),
        uptodate=[(_nothing_to_withdraw, (config_path,))],
    )


def _tasks_of_entry(config_path: str, entry: Entry) -> Iterator[dict[str, Any]]:
    name = entry.name
    files = files_of(entry)
    watch(files)
    if name in session(config_path).retired:
        yield from _tasks_of_retired(config_path, entry)
        return
    remote = [part.ref.id for part in entry.parts if not part.ref.is_local]
    if remote:
        yield _task(
            f"fetch:{name}",
            f"bring {', '.join(remote)} here",
            (_step, ("fetch", config_path, name)),
            uptodate=[(_is_fetched, (config_path, name))],
        )
    yield _task(
        f"verify:{name}",
        f"verify {name} and read its header",
        (_step, ("verify", config_path, name)),
        file_dep=list(files),
        targets=[shown(session(config_path).work.sha256_target(entry))],
        task_dep=[f"{BASENAME}:fetch:{name}"] if remote else [],
        setup=[WITHDRAW],
        uptodate=[(_is_current, (config_path, name, "verify"))],
        clean=[(_clean, ("verify", config_path, name))],
    )
    yield _task(
        f"register:{name}",
        f"write {name} into the catalog",
        (_step, ("register", config_path, name)),
        task_dep=[f"{BASENAME}:verify:{name}"],
        uptodate=[(_is_current, (config_path, name, "register"))],
    )
    yield _task(
        f"handoff:{name}",
        f"write the handoff of {name} for {entry.engine}",
        (_step, ("handoff", config_path, name)),
        targets=[shown(entry.handoff)],
        task_dep=[f"{BASENAME}:register:{name}"],
        uptodate=[(_is_current, (config_path, name, "handoff"))],
        clean=[(_clean, ("handoff", config_path, name))],
    )


def _task(name: str, doc: str, action: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    # doit swaps sys.stdout while it captures, which is wrong as soon as there are two threads: we print nothing anyway.
    return {"basename": BASENAME, "name": name, "doc": doc, "actions": [action], "io": {"capture": False}, **fields}


def _tasks_of_retired(config_path: str, entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a retired model: there is none to do, but who needs its handoff has to be told."""
    before: list[str] = []
    for step in ("verify", "register", "handoff"):
        yield _task(
            f"{step}:{entry.name}",
            f"nothing: {entry.name} is retired",
            (_tell_retired, (config_path, entry.name, step)),
            targets=[shown(entry.handoff)] if step == "handoff" else [],
            task_dep=before,
        )
        before = [f"{BASENAME}:{step}:{entry.name}"]


def files_of(entry: Entry) -> dict[str, str]:
    """Return the model's files as tasks name them and their absolute paths, for doit to see which another task makes.

    No task makes what is fetched; and what a reference will stand for is not known before.
    """
    found: dict[str, str] = {}
    for part in entry.parts:
        if isinstance(part.ref, LocalRef):
            found |= _files_at(part.ref.path)
    return found


def _files_at(path: str) -> dict[str, str]:
    try:
        return files_in(discover(path))
    except ProvisionError:
        # Not there (yet): a task of the project may make it. If none does, the verify step says what is wrong.
        return {} if os.path.isdir(path) else {shown(path): path}


def files_in(files: FileSet) -> dict[str, str]:
    """Return the files of a model as tasks name them and their absolute paths."""
    return {shown(member.path): member.path for member in files.members}


# ---- what doit calls


def _step(step: Step | str, config_path: str, name: str) -> dict[str, object] | TaskFailed | TaskError:
    """Do one step of an entry; answer in doit's terms, never with a traceback for a model's fault."""
    run = session(config_path)
    try:
        return _STEPS[step](run, run.entry(name))
    except StorageError as error:
        return TaskError(str(error))
    except ProvisionError as error:
        return TaskFailed(str(error))
    finally:
        run.did.add(name)
        run.look_again(name)


def _fetch(run: Session, entry: Entry) -> dict[str, object]:
    fetch(run.work, entry)
    return {}


def _verify(run: Session, entry: Entry) -> dict[str, object]:
    if (error := run.failed.pop(entry.name, None)) is not None:
        raise error
    found = _verified(verify(run.work, [entry])[entry.name])
    if run.warns and found.outcome == "fail":
        sys.stderr.write(f"WARNING: {found.fault}\n  note      strict_verification is false: it is handed off\n")
    elif run.warns and found.outcome == "warn":
        for part in found.parts:
            if part.outcome == "warn":
                what = f"{entry.name}: {part.label}" if part.label else entry.name
                sys.stderr.write(
                    f'warning: {what}: no digest is expected; to pin it: expected_digest: "{part.digest}"\n'
                )
    return found.told()


def _verified(found: Verification | ProvisionError) -> Verification:
    if isinstance(found, ProvisionError):
        raise found
    return found


def _register(run: Session, entry: Entry) -> dict[str, object]:
    found = run.work.verified.get(entry.name) or _verified(verify(run.work, [entry])[entry.name])
    for refused in register(run.work.catalog, [row_of(entry, run.work.config, found)]).values():
        fail(run.work, entry, refused)
        raise refused
    return {"notes": list(found.facts.notes)}


def _hand_off(run: Session, entry: Entry) -> dict[str, object]:
    written = hand_off(run.work, [entry])[entry.name]
    if isinstance(written, ProvisionError):
        raise written
    run.handed_off[entry.name] = run.work.verified[entry.name]
    return {"written": written}


_STEPS: dict[str, Callable[[Session, Entry], dict[str, object]]] = {
    "fetch": _fetch,
    "verify": _verify,
    "register": _register,
    "handoff": _hand_off,
}


def _is_current(config_path: str, name: str, step: Step) -> bool:
    return session(config_path).is_current(name, step)


def _is_fetched(config_path: str, name: str) -> bool:
    run = session(config_path)
    return is_present(run.work, run.entry(name))


def _nothing_to_withdraw(config_path: str) -> bool:
    run = session(config_path)
    return run.swept or (not any(run.asked.values()) and not has_orphans(run.work))


def _withdraw(config_path: str) -> TaskError | None:
    run = session(config_path)
    try:
        run.sweep(list(run.asked), orphans=True)
    except StorageError as error:
        return TaskError(str(error))
    return TaskError(str(run.trouble[0])) if run.trouble else None


def _tell_retired(config_path: str, name: str, step: Step) -> TaskError | TaskFailed | None:
    """Say that a model is retired: by a failure where doit comes here only for a task that needs it."""
    run = session(config_path)
    error = retired_error(run.work, run.entry(name))
    if run.gives_out:
        return TaskFailed(str(error))
    if step == "handoff":
        sys.stderr.write(f"{error}\n")
        run.sweep([name], orphans=False)
    return None


def _clean(step: Step, config_path: str, name: str, dryrun: bool) -> None:
    work = session(config_path).work
    entry = work.config.entries[name]
    path = entry.handoff if step == "handoff" else work.sha256_target(entry)
    if not os.path.lexists(path):
        return
    try:
        if step == "handoff":
            check_place(work, entry)
        print(f"{BASENAME}:{step}:{name} - removing file '{shown(path)}'")
        if not dryrun:
            withdraw(work, path)
            work.ledger.forget([path])
    except ProvisionError as error:
        print(f"{BASENAME}:{step}:{name} - {error}")


def handoff_tasks(names: Iterable[str]) -> list[str]:
    """Return the names of the tasks that finish these entries."""
    return [f"{BASENAME}:handoff:{name}" for name in names]
