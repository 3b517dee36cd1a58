"""Holding: what of the store may not go, and for whose sake."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from model_provisioner.engine.resolve import stored_files
from model_provisioner.engine.workspace import look_at_workspace
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.atomic import read_if_there
from model_provisioner.fs.sqlite import ReadOnlyDatabase
from model_provisioner.records.artifacts import artifacts_of_all
from model_provisioner.records.catalog import Catalog
from model_provisioner.records.handoff import is_handoff
from model_provisioner.store.usage import owner_of, uses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model_provisioner.config.entries import Config
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.inventory import Stock
    from model_provisioner.store.lease import Leased
    from model_provisioner.store.store import Store
    from model_provisioner.store.usage import Use

STRANGERS_DAYS = 30
"""For how many days what a project that can't be looked at from here used last is held for it."""


class Holding:
    """What of a store is held, and when it was last used, as it was when this was made. Raises `StorageError`.

    `leased` was read before: a model that is handed off meanwhile is in use there, and has its handoff by now.
    """

    def __init__(self, work: Workspace, stock: Stock, leased: Leased) -> None:
        self._store, self._stock = work.store, stock
        self._uses = uses(work.store)
        self._places = Catalog.reader(work.state).places()
        self._trees = {item.place: item.blobs for item in stock.items if item.kind == "model"}
        self.why: dict[str, str] = {}
        """What keeps a blob here, in words, by SHA-256."""
        self._hold_handed_off(work)
        self._hold_for(work.config)
        owner = owner_of(work.state)
        for config in sorted(self._configs(work, owner)):
            self._hold_asked(work, config)
        for use in self._uses:
            if use.owner != owner and time.time() - use.time < STRANGERS_DAYS * 86400:
                self._hold_trees(use, f"used by {use.owner.partition(' ')[0]}, {use.config}")
        self._hold(leased.blobs, "in use by a run")

    def last_use(self) -> dict[str, int]:
        """Return when each item was last used, by its place, in seconds since the epoch."""
        found = {item.place: item.made for item in self._stock.items}
        for use in self._uses:
            for tree in use.trees:
                if tree in found:
                    found[tree] = max(found[tree], use.last(tree))
        for place in self._places:
            tree = tree_of(self._store, place.path or "")
            if tree in found and place.used_at is not None:
                with contextlib.suppress(ValueError):
                    found[tree] = max(found[tree], int(datetime.fromisoformat(place.used_at).timestamp()))
        now = int(time.time())  # a clock that went back, or a record that somebody else wrote
        return {place: min(max(0, used), now) for place, used in found.items()}

    def _hold(self, blobs: Iterable[str], reason: str) -> None:
        for blob in blobs:
            if blob in self._stock.blobs:
                self.why.setdefault(blob, reason)

    def _hold_trees(self, use: Use, reason: str) -> None:
        for tree, left in use.trees.items():
            if left is None:
                self._hold(self._trees.get(tree, ()), reason)

    def _hold_handed_off(self, work: Workspace) -> None:
        paths = {place.handoff for place in self._places if place.handoff is not None}
        paths |= artifacts_of_all(work.state, database=ReadOnlyDatabase)
        paths.update(work.config.handoffs)
        for use in self._uses:
            paths.update(use.handoffs)
        blobs = os.path.realpath(self._store.blobs)
        for path in sorted(paths):
            if (data := read_if_there(path)) is not None and is_handoff(data):
                for file in _files_of(json.loads(data)):
                    with contextlib.suppress(ValueError):  # a text that no path can be
                        real = os.path.realpath(file)
                        if real.startswith(f"{blobs}/"):
                            self._hold([os.path.basename(real)], f"handed off in {path}")

    def _configs(self, work: Workspace, owner: str) -> set[str]:
        """Return the configurations of this user that may ask for anything here."""
        found = {use.config for use in self._uses if use.owner == owner}
        found |= {place.config for place in self._places if place.config is not None}
        return found - {work.config.path}

    def _hold_asked(self, work: Workspace, path: str) -> None:
        """Hold what another project of this user keeps or has locked, and all that it used if that can't be told."""
        if not os.path.exists(path):
            return  # the project is gone; a handoff that is left of it counts all the same
        try:
            config = look_at_workspace(path, work.state).config
        except ProvisionError:
            for use in self._uses:
                if use.config == path:
                    self._hold_trees(use, f"used by {path}, which has faults")
            return
        self._hold_for(config)

    def _hold_for(self, config: Config) -> None:
        """Hold what a configuration keeps, or has locked."""
        if os.path.realpath(config.cache_dir) != os.path.realpath(self._store.root):
            return
        for name in config.remote:
            for part in config.entries[name].parts:
                if not part.ref.is_local and (part.keep or part.locked is not None):
                    reason = "keep: true" if part.keep else "locked"
                    self._hold(stored_files(part, self._store).values(), f"{reason} ({name} of {config.path})")


def tree_of(store: Store, path: str) -> str:
    """Return the tree (`<key>/<version>`) that a path of the store lies in; an empty text where it lies in none."""
    top = os.path.join(store.root, "trees", "")
    return "/".join(path.removeprefix(top).split("/")[:2]) if path.startswith(top) else ""


def _files_of(handoff: dict[str, Any]) -> Iterator[str]:
    """Yield the files that a handoff names, of any version of ours, or of the original tool."""
    metadata = handoff.get("metadata")
    files = metadata.get("files") if isinstance(metadata, dict) else None
    named = [handoff["model"]["path"]]
    named += [file.get("path") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    yield from (path for path in named if isinstance(path, str))
