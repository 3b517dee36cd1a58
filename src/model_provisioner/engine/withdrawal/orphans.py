"""Orphans: artifacts and catalog rows of a configuration that no entry of it claims any more."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from model_provisioner.engine.withdrawal.withdraw import remove, unseen
from model_provisioner.errors import StorageError
from model_provisioner.records.handoff import is_handoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.engine.workspace import Workspace


def has_orphans(work: Workspace) -> bool:
    """Tell whether there are artifacts or catalog rows of this configuration that no entry claims any more."""
    return bool(orphaned_rows(work) or orphaned_artifacts(work))


def withdraw_orphans(work: Workspace) -> tuple[list[str], list[StorageError]]:
    """Remove the artifacts and rows that no entry claims.

    Return the artifacts that were still there, and what kept others from being removed.
    """
    rows, trouble = _rows_or_trouble(work)
    orphans = sorted(_artifacts(work, rows))
    folders = [path for path in orphans if os.path.isdir(path) and not os.path.islink(path)]  # none of ours
    results = remove(work, [path for path in orphans if path not in folders])
    removed = [path for path, was_there in results.items() if was_there is True]
    kept = {path: error for path, error in results.items() if isinstance(error, StorageError)}
    kept |= unseen(work.roots, _unclaimed(work, rows).difference(orphans))
    trouble += kept.values()
    try:
        work.build_record.forget([*folders, *(path for path, was_there in results.items() if was_there is False)])
    except StorageError as error:
        trouble.append(error)
    try:
        # Where the build record was lost, the row alone knows of a handoff that still has to go.
        if names := {name for name in rows.keys() - work.config.entries.keys() if rows[name] not in kept}:
            work.catalog.remove(work.config.root, sorted(names))
    except StorageError as error:
        trouble.append(error)
    return removed, trouble


def orphaned_rows(work: Workspace) -> set[str]:
    """Return the names of catalog rows of this configuration that are no entries. Raises `StorageError`."""
    return _rows(work).keys() - work.config.entries.keys()


def orphaned_artifacts(work: Workspace) -> set[str]:
    """Return the paths of artifacts of this configuration that no entry claims, as far as the records can be read."""
    return _artifacts(work, _rows_or_trouble(work)[0])


def _artifacts(work: Workspace, rows: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(StorageError):
        found = work.build_record.artifacts() - _claimed(work)
    return found | {path for path in _unclaimed(work, rows) if is_handoff(work.roots.read(path) or b"")}


def _claimed(work: Workspace) -> set[str]:
    entries = work.config.entries.values()
    return {entry.handoff for entry in entries}.union(work.sha256_target(entry) for entry in entries)


def _unclaimed(work: Workspace, rows: Mapping[str, str | None]) -> set[str]:
    """Return where rows say that handoffs belong, should the build record be lost; they do not know that one was written."""
    return {path for path in rows.values() if path is not None} - _claimed(work)


def _rows_or_trouble(work: Workspace) -> tuple[dict[str, str | None], list[StorageError]]:
    try:
        return _rows(work), []
    except StorageError as error:
        return {}, [error]


def _rows(work: Workspace) -> dict[str, str | None]:
    return work.catalog.handoffs(work.config.root, work.config.path)
