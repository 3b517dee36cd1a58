"""Use: note in the store what the project uses of it, when a run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.artifacts.uses import has_record, note
from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.tasks.holding import tree_of
from model_provisioner.tasks.resolve import resolve_entry

if TYPE_CHECKING:
    from model_provisioner.tasks.workspace import Workspace


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
                try:
                    trees.add(tree_of(work.store, resolve_entry(entry, work.store).path))
                except ProvisionError:
                    continue  # not here
            if trees or has_record(work.state, config.path):
                note(work.store, work.state, config.path, trees, handoffs)
    except StorageError:
        pass
    finally:
        work.let_go()
