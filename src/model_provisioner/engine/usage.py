"""Use: note in the store what the project uses of it, when a run ends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.retention import tree_of
from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.store.usage import has_record, note

if TYPE_CHECKING:
    from model_provisioner.engine.workspace import Workspace


def end_of_use(work: Workspace) -> None:
    """Note that the project used its fetched models until now, and let them go: from now on its handoffs hold them.

    A project that never fetched anything asks nothing of the store. Where the store can't be written, nobody is told of
    the use, and nobody lets anything go either.
    """
    config = work.config
    try:
        if config.remote or has_record(work.state, config.path):
            trees, handoffs = set(), []
            for name in config.remote:
                entry = config.entries[name]
                handoffs.append(entry.handoff)
                for part in entry.parts:
                    with suppress(ProvisionError):  # not here
                        if not part.ref.is_local:
                            trees.add(tree_of(work.store, resolve_entry(part, work.store).path))
            if trees or has_record(work.state, config.path):
                note(work.store, work.state, config.path, trees, handoffs)
    except StorageError:
        pass
    finally:
        work.let_go()
