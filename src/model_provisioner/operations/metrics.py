"""Metrics: how this user's models stand on this host, in numbers for monitoring. Nothing is read of a model or written.

They are of all projects of the user that are still there, for what an alert wakes somebody up for is a host.
"""

from __future__ import annotations

import os
import pwd
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from model_provisioner.engine.workspace import look_at_workspace
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.records.catalog.counters import Counters
from model_provisioner.records.last_run import last_end
from model_provisioner.store.inventory import inventory
from model_provisioner.store.owners import Witness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.records.catalog.catalog import Model
    from model_provisioner.records.lifecycle import Lifecycle
    from model_provisioner.store.store import Store

LISTED = 1000
"""How many models, projects and stores have numbers of their own: monitoring pays for each series."""
NEVER = 0
"""The time of an audit that there never was: any age that is computed from it is too high."""


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """One model."""

    project: str
    """Its folder; an empty text for the models that programs register."""
    name: str
    failed: bool
    size: int | None
    """In bytes, of all files when they were last verified; None where they never were."""
    audited: int | None
    """When SHA-256 last went over every byte, in seconds since 1970, or `NEVER`; None of what no audit would read."""


@dataclass(frozen=True, kw_only=True)
class ProjectMetrics:
    """One project."""

    root: str
    last_run: int | None
    """When its last run ended, in seconds since 1970; None where that was not noted."""
    without_handoff: int | None
    """How many of its entries have no handoff, retired ones aside; None where its configuration can't be read."""


@dataclass(frozen=True, kw_only=True)
class StoreMetrics:
    """One store."""

    path: str
    size: int
    """In bytes."""
    limit: int | None
    """In bytes: the lowest that a project names; None where none does."""


@dataclass(frozen=True, kw_only=True)
class HostMetrics:
    """How the models of this user stand on this host."""

    user: str
    """The user's name, or number where it has none: several users of a host have metrics of their own."""
    states: Mapping[Lifecycle, int]
    """How many models are in which state."""
    models: Sequence[ModelMetrics]
    """At most `LISTED`: those that failed, then the largest."""
    unlisted: int
    """How many others there are."""
    oldest_audit: int | None
    """The lowest `audited` of all models; None where no audit would read any."""
    projects: Sequence[ProjectMetrics]
    """At most `LISTED`, by folder."""
    unreadable: int
    """How many configurations can't be read or have faults."""
    stores: Sequence[StoreMetrics]
    """At most `LISTED`, by path."""
    verifications: Mapping[str, int]
    """How often verifying an entry came out how, by outcome."""
    fetched_bytes: int


def host_metrics(state: str) -> HostMetrics:
    """Return the numbers of the user whose state folder this is. Raises `StorageError` where the records can't be read."""
    with closing(Catalog.reader(state)) as catalog:
        all_rows = catalog.all()
        counters = Counters(catalog.database)
        verifications, fetched = counters.verifications(), counters.fetched_bytes()
    configs = {config for row in all_rows if (config := row.config) is not None}
    here = {config for config in configs if may_be_there(config)}
    rows = [row for row in all_rows if row.config is None or row.config in here]
    models = sorted(
        map(_model, rows), key=lambda model: (not model.failed, -(model.size or 0), model.project, model.name)
    )
    audits = [model.audited for model in models if model.audited is not None]
    look = _Look(state, rows)
    return HostMetrics(
        user=_user(),
        states=Counter(row.lifecycle for row in rows),
        models=models[:LISTED],
        unlisted=max(0, len(models) - LISTED),
        oldest_audit=min(audits, default=None),
        projects=look.projects[:LISTED],
        unreadable=look.unreadable,
        stores=look.stores()[:LISTED],
        verifications=verifications,
        fetched_bytes=fetched,
    )


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _model(row: Model) -> ModelMetrics:
    is_audited = row.lifecycle != "Retired" and row.digest is not None
    return ModelMetrics(
        project=row.project,
        name=row.name,
        failed=row.lifecycle == "Failed",
        size=row.size,
        audited=_seconds(row.audited_at) if is_audited else None,
    )


def _seconds(time: str | None) -> int:
    try:
        return NEVER if time is None else int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return NEVER


class _Look:
    """What the configurations say that these rows are of; each is read once."""

    def __init__(self, state: str, rows: Iterable[Model]) -> None:
        self._state = state
        self.unreadable = 0
        self._stores: dict[str, tuple[Store, int | None]] = {}
        """By real path: each store, and its lowest limit."""
        found: dict[str, dict[str, set[str]]] = {}
        for row in rows:
            if row.config is not None:
                retired = found.setdefault(row.project, {}).setdefault(row.config, set())
                if row.lifecycle == "Retired":
                    retired.add(row.name)
        self.projects = [self._project(root, configs) for root, configs in sorted(found.items())]

    def stores(self) -> list[StoreMetrics]:
        """Return the stores that these projects fetch into, by path."""
        return [
            StoreMetrics(path=path, size=inventory(store, Witness(store, self._state)).size, limit=limit)
            for path, (store, limit) in sorted(self._stores.items())
        ]

    def _project(self, root: str, configs: Mapping[str, set[str]]) -> ProjectMetrics:
        """Return the numbers of a project, given its configurations and the retired entries of each."""
        counts = [self._without_handoff(config, retired) for config, retired in sorted(configs.items())]
        known = [count for count in counts if count is not None]
        return ProjectMetrics(
            root=root, last_run=last_end(self._state, root), without_handoff=sum(known) if known else None
        )

    def _without_handoff(self, config: str, retired: set[str]) -> int | None:
        try:
            work = look_at_workspace(config, self._state)
        except ProvisionError:
            self.unreadable += 1
            return None
        with closing(work):
            self._add_store(work)
            entries = work.config.entries.values()
            return sum(not may_be_there(each.handoff) for each in entries if each.name not in retired)

    def _add_store(self, work: Workspace) -> None:
        store, limit = work.store, work.config.max_size
        if os.path.isdir(store.blobs):
            path = os.path.realpath(store.root)
            _, before = self._stores.get(path, (store, None))
            limits = [each for each in (limit, before) if each is not None]
            self._stores[path] = (store, min(limits, default=None))
