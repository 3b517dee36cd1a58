"""Retention roots: what keeps the blobs of a store from eviction."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import stored_files
from model_provisioner.engine.workspace import look_at_workspace
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.read import read_if_there
from model_provisioner.fs.sqlite import ReadOnlyDatabase
from model_provisioner.records.artifacts import artifacts_of_all
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.records.handoff import files_named
from model_provisioner.store.owners import UNTIL_DEAD
from model_provisioner.store.usage import owner_of, usage_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.config.entries import Config
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.inventory import Inventory
    from model_provisioner.store.lease import Leased
    from model_provisioner.store.store import Store
    from model_provisioner.store.usage import UsageRecord

FOREIGN_DAYS = 30
"""For how many days after its last use a project that can't be looked at from here keeps what it used."""


class RetentionRoots:
    """What of a store must stay and why, and when it was last used, as of the moment when this is made.

    The roots are handoffs, what this user's projects keep (`keep: true`) or have locked, what projects of others used in
    the last 30 days, and the leases of living runs. What came of a model that this user's projects name stays as well. The
    leases were read before: a model that is handed off meanwhile is in a lease there, and has its handoff by now. `now` is
    the time of the store's clock, in seconds since the epoch. Raises `StorageError` where a record can't be read.
    """

    reasons: dict[str, str]
    """Why a blob must stay, in words, by SHA-256."""
    named: dict[str, str]
    """Whose a download that broke off is, in words, by the id of what it was asked for by."""

    def __init__(self, work: Workspace, stock: Inventory, leased: Leased, now: float) -> None:
        self._store, self._stock, self._now = work.store, stock, now
        self._uses = usage_records(work.store)
        self._places = Catalog.reader(work.state).retention_rows()
        self._trees = {item.place: item.blobs for item in stock.items if item.kind == "model"}
        self.reasons, self.named = {}, {}
        self._add_handoffs(work)
        self._add_config(work.config)
        owner = owner_of(work.state)
        for path in sorted(self._other_configs(work, owner)):
            self._add_project(work, path)
        for use in _of_others(self._uses, owner, now):
            self._add_trees(use, f"used by {use.owner.partition(' ')[0]}, {use.config}")
        self._add(leased.blobs, "in use by a run")
        self._add(leased.elsewhere, f"in use by a run of another host, {UNTIL_DEAD}")

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
        now = int(self._now)  # a clock that went back, or a record that somebody else wrote
        return {place: min(max(0, used), now) for place, used in found.items()}

    def _add(self, blobs: Iterable[str], reason: str) -> None:
        for blob in blobs:
            if blob in self._stock.blobs:
                self.reasons.setdefault(blob, reason)

    def _add_trees(self, use: UsageRecord, reason: str) -> None:
        for tree, left in use.trees.items():
            if left is None:
                self._add(self._trees.get(tree, ()), reason)

    def _add_handoffs(self, work: Workspace) -> None:
        paths = {place.handoff for place in self._places if place.handoff is not None}
        paths |= artifacts_of_all(work.state, database=ReadOnlyDatabase)
        paths.update(work.config.handoffs)
        for use in self._uses:
            paths.update(use.handoffs)
        blobs = os.path.realpath(self._store.blobs)
        for path in sorted(paths):
            for file in files_named(read_if_there(path) or b""):
                with contextlib.suppress(ValueError):  # a text that no path can be
                    real = os.path.realpath(file)
                    if real.startswith(f"{blobs}/"):
                        self._add([os.path.basename(real)], f"handed off in {path}")

    def _other_configs(self, work: Workspace, owner: str) -> set[str]:
        """Return the configurations of this user's other projects."""
        found = {use.config for use in self._uses if use.owner == owner}
        found |= {place.config for place in self._places if place.config is not None}
        return found - {work.config.path}

    def _add_project(self, work: Workspace, path: str) -> None:
        """Add what another project of this user keeps or has locked; all that it used where its configuration has faults."""
        if not os.path.exists(path):
            return  # the project is gone; a handoff that is left of it counts all the same
        try:
            config = look_at_workspace(path, work.state).config
        except ProvisionError:
            for use in self._uses:
                if use.config == path:
                    self._add_trees(use, f"used by {path}, which has faults")
            return
        self._add_config(config)

    def _add_config(self, config: Config) -> None:
        """Add what a configuration keeps, or has locked."""
        if os.path.realpath(config.cache_dir) != os.path.realpath(self._store.root):
            return
        for name in config.remote:
            for part in config.entries[name].parts:
                if part.ref.is_local:
                    continue
                self.named.setdefault(part.ref.id, f"the next run resumes it ({name} of {config.path})")
                if part.keep or part.locked is not None:
                    reason = "keep: true" if part.keep else "locked"
                    self._add(stored_files(part, self._store).values(), f"{reason} ({name} of {config.path})")


def used_elsewhere(work: Workspace, stock: Inventory, leased: Leased, now: float) -> set[str]:
    """Return the blobs, by SHA-256, that living runs use, and the projects of others.

    Those are the roots of hosts that don't wait for who is alone in the store: they may have come since.
    """
    trees = {item.place: item.blobs for item in stock.items if item.kind == "model"}
    used = leased.blobs | leased.elsewhere
    for use in _of_others(usage_records(work.store), owner_of(work.state), now):
        used.update(*(trees.get(tree, ()) for tree, left in use.trees.items() if left is None))
    return used


def _of_others(uses: Iterable[UsageRecord], owner: str, now: float) -> list[UsageRecord]:
    return [use for use in uses if use.owner != owner and now - use.time < FOREIGN_DAYS * 86400]


def tree_of(store: Store, path: str) -> str:
    """Return the tree (`<key>/<version>`) that a path of the store lies in; an empty text where it lies in none."""
    top = os.path.join(store.root, "trees", "")
    return "/".join(path.removeprefix(top).split("/")[:2]) if path.startswith(top) else ""
