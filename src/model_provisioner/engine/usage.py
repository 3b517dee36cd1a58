"""Usage: note in the store what the project uses of it, when a run ends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.store.usage import has_record, note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace


def note_usage(work: Workspace, records: Mapping[str, EntryRun]) -> None:
    """Note that the project used its fetched models until now, and release them: from now on its handoffs hold them.

    `records` has what this run resolved already, by name. A project that never fetched anything asks nothing of the store.
    Where the store can't be written, nobody is told of the use, and nobody evicts anything either.
    """
    config = work.config
    try:
        if config.remote or has_record(work.state, config.path):
            from model_provisioner.engine.retention import tree_of

            entries = [config.entries[name] for name in config.remote]
            trees = {tree_of(work.store, path) for entry in entries for path in _paths(work, entry, records)}
            if trees or has_record(work.state, config.path):
                note(work.store, work.state, config.path, trees, [entry.handoff for entry in entries])
    except StorageError:
        pass
    finally:
        work.lease.close()


def _paths(work: Workspace, entry: Entry, records: Mapping[str, EntryRun]) -> Iterator[str]:
    """Yield where the fetched parts of an entry lie, as far as they are here."""
    record = records.get(entry.name)
    if record is not None and record.files is not None:
        parts = (record.files.model, *(each.files for each in record.files.companions))
        yield from (files.path for part, files in zip(entry.parts, parts, strict=True) if not part.ref.is_local)
        return
    for part in entry.parts:
        if not part.ref.is_local:
            with suppress(ProvisionError):
                yield resolve_entry(part, work.store).path
