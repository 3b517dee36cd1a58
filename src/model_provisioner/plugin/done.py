"""What doit keeps of a model that is verified: its files as tasks name them, its values, and the row of its task.

What the program did is done for doit, too: the row of a model that is current is written where there is none, or where it is of
other bytes. Only `doit forget` has a task run again; it leaves a mark in place of the row.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from doit.task import Task

from model_provisioner.cli.output import relative as shown
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.fileset import FileSet, discover
from model_provisioner.plugin.checker import MD5Checker, watch
from model_provisioner.plugin.names import BASENAME
from model_provisioner.references.reference import LocalRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run

_FORGOTTEN = "forgotten:"


def verify_task(name: str) -> str:
    """Return the name of the task that verifies an entry."""
    return f"{BASENAME}:verify:{name}"


def values_of(run: Run, record: EntryRun) -> dict[str, object]:
    """Return the values of the task that verified an entry: what the bytes are, however that was found."""
    if (found := record.verification) is not None:
        return {"digest": str(found.digest), "size": found.size}
    row = run.work.catalog.get(run.work.config.root, record.name)
    return {} if row is None else {"digest": row.digest, "size": row.size}


def files_of(entry: Entry) -> dict[str, str]:
    """Return the model's files as tasks name them and their absolute paths, for doit to see which another task makes.

    No task makes what is fetched, and what a remote reference resolves to is not known before.
    """
    found: dict[str, str] = {}
    for part in entry.parts:
        if isinstance(part.ref, LocalRef):
            found |= _files_at(part.ref.path)
    return found


def files_in(files: FileSet) -> dict[str, str]:
    """Return the files of a model as tasks name them and their absolute paths."""
    return {shown(member.path): member.path for member in files.members}


def _files_at(path: str) -> dict[str, str]:
    try:
        return files_in(discover(path))
    except ProvisionError:
        # Not there (yet): a task of the project may make it. If none does, the verify step says what is wrong.
        return {} if os.path.isdir(path) else {shown(path): path}


def is_forgotten(doit: Any, name: str) -> bool:
    """Tell whether the user had doit forget that it verified an entry."""
    return bool(doit.backend.get(verify_task(name), _FORGOTTEN))


def keep(run: Run, record: EntryRun, doit: Any) -> None:
    """Let doit record that a current entry is verified, unless it has recorded just these bytes."""
    files = files_of(record.entry)
    watch(files)
    if isinstance(doit.checker, MD5Checker):
        doit.checker.answer_from(run.work.memo)
    with suppress(OSError):  # a file that went meanwhile is for doit to tell
        if not _is_recorded(run, record, files, doit):
            save(run, record, files, doit)


def save(run: Run, record: EntryRun, files: dict[str, str], doit: Any) -> None:
    """Let doit record that an entry was verified, as it does after the task."""
    watch(files)
    task = Task(verify_task(record.name), None, file_dep=list(files))
    task.values = task.result = values_of(run, record)
    remember_again(doit, record.name)
    doit.save_success(task)


def remember_again(doit: Any, name: str) -> None:
    """Take away the mark that `doit forget` left of an entry."""
    if is_forgotten(doit, name):
        doit.backend.set(verify_task(name), _FORGOTTEN, None)


def _is_recorded(run: Run, record: EntryRun, files: dict[str, str], doit: Any) -> bool:
    """Tell whether doit knows that the entry was verified, and with the bytes that it has."""
    task = verify_task(record.name)
    if not doit.backend.in_(task):
        return False
    if set(doit.backend.get(task, "deps:") or ()) != files.keys():
        return False
    for name in files:
        state = doit.backend.get(task, name)
        if state is None or doit.checker.check_modified(name, os.stat(name), state):
            return False
    if record.entry.is_local:
        return True
    values = doit.backend.get(task, "_values_:")
    return isinstance(values, dict) and values.get("digest") == values_of(run, record).get("digest")


class Forgetting:
    """doit's state while tasks are forgotten: in the place of the rows of ours, marks are left."""

    def __init__(self, doit: Any, names: Iterable[str]) -> None:
        """Take doit's state and the names of the tasks of ours whose rows may go."""
        self._doit, self._names = doit, tuple(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._doit, name)

    def close(self) -> None:
        """Leave the marks, and close it."""
        for name in self._names:
            if not self._doit.backend.in_(name):
                self._doit.backend.set(name, _FORGOTTEN, True)
        self._doit.close()
