"""Withdraw: remove what can't be confirmed, before the long work of confirming it begins."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.config.paths import is_below
from model_provisioner.engine.entry_run import failing
from model_provisioner.engine.verification.corruption import IN_FULL, is_in_full
from model_provisioner.errors import (
    CorruptModelError,
    DigestMismatchError,
    OccupiedError,
    ProvisionError,
    RetiredModelError,
    SignatureError,
    StorageError,
)
from model_provisioner.fs.atomic import remove_all_durably
from model_provisioner.fs.locking.locks import locked
from model_provisioner.fs.paths import is_there, may_be_there
from model_provisioner.fs.read import NotOursError
from model_provisioner.fs.sqlite import ReadOnlyDatabase
from model_provisioner.fs.unreachable import storage_error
from model_provisioner.invocation import command as called
from model_provisioner.records.artifacts import writer_of
from model_provisioner.records.catalog.catalog import Model
from model_provisioner.records.handoff import handoff_id, is_handoff

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.root import Roots
    from model_provisioner.records.catalog.catalog import Outcome
    from model_provisioner.records.lifecycle import By, Lifecycle


def withdraw(work: Workspace, path: str) -> bool:
    """Remove a file that we wrote, durably; return whether it was there. Raises `OccupiedError` and `StorageError`."""
    check_writer(work, path)
    removed = remove(work, [path])[path]
    if isinstance(removed, StorageError):
        raise removed
    return removed


def withdraw_handoffs(work: Workspace, records: Iterable[EntryRun]) -> list[EntryRun]:
    """Remove the handoffs of entries, durably; return those that had one. What keeps one there is the `error` of its entry."""
    by_path: dict[str, EntryRun] = {}
    for record in records:
        record.stands = None
        try:
            check_place(work, record.entry)
            by_path[record.entry.handoff] = record
        except OccupiedError as error:
            record.error = error
        except StorageError as error:
            record.error = record.stands = error
    withdrawn = []
    for path, removed in remove(work, by_path).items():
        record = by_path[path]
        record.published = False
        if isinstance(removed, StorageError):
            record.error = record.stands = removed
        elif removed:
            record.withdrawn = True
            withdrawn.append(record)
    return withdrawn


def remove(work: Workspace, paths: Collection[str]) -> dict[str, bool | StorageError]:
    """Remove artifacts durably, under their locks; return by path whether each was there, or what kept it there."""
    if not any(map(may_be_there, paths)):
        return dict.fromkeys(paths, False)
    with _locked_if_possible(work, paths):
        removed = remove_all_durably(paths, work.roots)
        if gone := [path for path, was_there in removed.items() if was_there is True]:
            with contextlib.suppress(StorageError):
                work.build_record.forget(gone)  # a file that appears there from now on is not ours
    return removed


def publishing(work: Workspace, paths: Iterable[str]) -> AbstractContextManager[None]:
    """Hold the locks under which artifacts are published and withdrawn: one a folder. Raises `StorageError`."""
    return locked(work.state, "handoff", *{os.path.dirname(path) for path in paths})


@contextlib.contextmanager
def _locked_if_possible(work: Workspace, paths: Iterable[str]) -> Iterator[None]:
    """Hold the locks of artifacts; do without on a full disk, for what is not confirmed must go all the same."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(StorageError):
            stack.enter_context(publishing(work, paths))
        yield


def check_place(work: Workspace, entry: Entry) -> None:
    """Raise `OccupiedError` where something stands in the handoff's place that we did not write and that is no handoff."""
    if not is_there(entry.handoff):
        return
    check_writer(work, entry.handoff, entry.ref.id)
    data = work.roots.read(entry.handoff)
    if data is not None and is_handoff(data):
        return
    with contextlib.suppress(StorageError):
        if entry.handoff in work.build_record:
            return
    raise OccupiedError(
        f"the place of the handoff of {entry.name} is taken",
        where=entry.handoff,
        expected="no file, or a handoff",
        found="something else, which was left as it is",
        fix=f"move it away, or give {entry.name} another handoff in {work.config.path}",
    )


def check_writer(work: Workspace, path: str, model_id: str | None = None) -> None:
    """Raise `OccupiedError` where another project wrote the file at a path, in a folder of the user's that they share.

    A file that no record has is taken for our own if it is a handoff of the model with this id. Raises `StorageError`.
    """
    if is_below(path, work.config.root) or not is_there(path) or path in work.build_record:
        return
    writer = writer_of(work.state, path, database=ReadOnlyDatabase)
    if writer == work.config.path:  # from another working directory
        return
    if writer is None and model_id is not None and handoff_id(work.roots.read(path) or b"") == model_id:
        return
    is_shared = is_below(path, work.config.runtime_dir)
    raise OccupiedError(
        "a file in the folder for what a run writes is not this project's"
        if is_shared
        else "the file in the place of the handoff is not this project's",
        where=path,
        expected="no file, or one that this project wrote",
        found="a file that no project here wrote" if writer is None else f"a file that {writer} wrote",
        fix="set MODEL_PROVISIONER_RUNTIME_DIR to a folder of its own for each project"
        if is_shared
        else "move it away, or name another handoff",
    )


def unseen(roots: Roots, paths: Iterable[str]) -> dict[str, StorageError]:
    """Return at which of these paths it can't be seen whether a handoff is there, and why."""
    found = {}
    for path in paths:
        try:
            folder, name = os.path.split(path)
            os.close(roots.folder(folder).open(name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, NotOursError):
            pass
        except OSError as error:
            found[path] = storage_error("it can't be told whether a handoff is there", path, error)
    return found


FETCHED = "not verified since its fetch began"
READ = "not handed off since its verification began"
WITHDRAWN = "not verified since its handoff was withdrawn"
POLICY_CHANGED = "its policy changed while it was verified"
"""The reasons of Pending rows. Each is true whether the run that wrote it was killed, or ended and never came to the rest."""


def pend(work: Workspace, records: Sequence[EntryRun], reason: str) -> None:
    """Withdraw what the last verification of entries gave, for their bytes are about to be fetched or read.

    `reason` is said as long as nothing else comes of it. What keeps it from being withdrawn is the `error` of the entry.
    """
    withdraw_handoffs(work, records)
    pending = [record for record in records if record.error is None]
    with failing(*pending):
        for name, error in set_pending(work, [record.entry for record in pending], reason).items():
            next(record for record in pending if record.name == name).error = error


def set_pending(work: Workspace, entries: Sequence[Entry], reason: str) -> dict[str, ProvisionError]:
    """Note for what `reason` entries are not verified; return, by entry, what keeps that from being noted."""
    root = work.config.root
    full = {entry.name for entry in entries if work.rules.full or is_in_full(work.catalog.get(root, entry.name))}
    return {
        **set_state(work, [entry for entry in entries if entry.name in full], "Pending", reason=IN_FULL),
        **set_state(work, [entry for entry in entries if entry.name not in full], "Pending", reason=reason),
    }


def fail(work: Workspace, record: EntryRun, error: ProvisionError) -> None:
    """Withdraw what the entry's last verification gave, for it failed with `error`: that is its `error` from now on.

    All three steps are tried; where one of them can't be done, that is the `error`, with the first one in it.
    """
    record.verification = record.reasons = None
    trouble: StorageError | None = None
    for step in (
        lambda: _withdraw_handoff(work, record),
        lambda: withdraw(work, work.sha256_target(record.entry)),
        lambda: _note_failure(work, record.entry, error),
    ):
        try:
            step()
        except (OccupiedError, RetiredModelError):
            pass  # what stands there is no handoff; what is retired stays so
        except StorageError as found:
            trouble = trouble or found
    record.error = error
    if trouble is not None and trouble is not error:
        what = trouble.what if trouble.what == error.what else f"{error.what}; and {trouble.what}"
        worse = StorageError(what, where=trouble.where, expected=trouble.expected, found=trouble.found, fix=trouble.fix)
        worse.__cause__ = error
        record.error = worse


def _withdraw_handoff(work: Workspace, record: EntryRun) -> None:
    record.error = None
    withdraw_handoffs(work, [record])
    if record.error is not None:
        raise record.error


def _note_failure(work: Workspace, entry: Entry, error: ProvisionError) -> None:
    if isinstance(error, SignatureError):
        digest = error.digest
    else:
        digest = error.actual if isinstance(error, DigestMismatchError) and not error.companion else None
    outcome: Outcome = "fail" if digest is not None or isinstance(error, DigestMismatchError) else "error"
    if isinstance(error, CorruptModelError):
        work.catalog.mark_corrupt(error.path, error.wanted, error.actual)
        set_state(work, [entry], "Failed", outcome=outcome, reason=str(error), corrupt=digest)
    else:
        set_state(work, [entry], "Failed", outcome=outcome, reason=str(error), digest=digest)


def set_state(
    work: Workspace,
    entries: Iterable[Entry],
    lifecycle: Lifecycle,
    *,
    outcome: Outcome | None = None,
    reason: str | None = None,
    digest: str | None = None,
    corrupt: str | None = None,
    by: By = "run",
) -> dict[str, ProvisionError]:
    """Note the state of entries in the catalog; of the same model, what else was known of it stays.

    Return, by entry, what kept it from being noted.
    """
    rows = []
    for entry in entries:
        row = work.catalog.get(work.config.root, entry.name)
        expected = None if entry.expected is None else str(entry.expected)
        other = row is None or row.id != entry.ref.id
        if row is None or other:
            row = Model(project=work.config.root, name=entry.name, id=entry.ref.id, lifecycle=lifecycle)
        if other or lifecycle == "Failed":  # under the policy as it is now
            row = replace(row, expected=expected, strict=entry.strict)
        rows.append(
            replace(
                row,
                lifecycle=lifecycle,
                outcome=outcome,
                reason=reason,
                digest=digest or row.digest,
                corrupt=corrupt or row.corrupt,
                config=work.config.path or None,
                handoff=entry.handoff or None,
                engine=entry.engine or None,
            )
        )
    return {**work.catalog.put(*rows, by=by)} if rows else {}


def retired_error(work: Workspace, entry: Entry) -> RetiredModelError:
    """Return what to say to who needs the handoff of a retired model."""
    return RetiredModelError(
        f"{entry.name} is retired: it has no handoff, and what needs one can't run",
        where=entry.handoff,
        expected="a model in service",
        found="one that was retired by hand",
        fix=f"{called(f'retire --undo {entry.name}')}, then {called('provision')}; or leave out what needs it",
    )
