"""What the steps of one run share: the configuration as it was read, and the records."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from model_provisioner.config.cache import ConfigCache
from model_provisioner.config.entries import Config
from model_provisioner.config.load import parse_config, read_config
from model_provisioner.config.locked import with_lock
from model_provisioner.config.lockfile import lock_path, read_lock
from model_provisioner.config.network_policy import offline_reason, users_hosts
from model_provisioner.config.paths import DIGESTS, PROVENANCE, is_below
from model_provisioner.config.source_file import Source
from model_provisioner.engine.events import silent
from model_provisioner.engine.fetching.mirrors import Mirrors
from model_provisioner.engine.rules import Rules
from model_provisioner.errors import ConfigError, PolicyChangedError
from model_provisioner.fs.root import Roots
from model_provisioner.fs.sqlite import ReadOnlyDatabase
from model_provisioner.fs.state_folder import project_folder, state_folder
from model_provisioner.hashing.memo import Memo
from model_provisioner.provenance.record import Policy
from model_provisioner.provenance.verifications import Verifications
from model_provisioner.records.artifacts import BuildRecord
from model_provisioner.records.catalog.catalog import NO_PROJECT, Catalog
from model_provisioner.references.mirror import users_mirrors
from model_provisioner.references.reference import LocalRef
from model_provisioner.store.lease import Lease
from model_provisioner.store.store import Store
from model_provisioner.store.tree import is_tree

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.events import Progress
    from model_provisioner.fs.identity import Identity
    from model_provisioner.hashing.executors.window import Window
    from model_provisioner.records.catalog.catalog import Model
    from model_provisioner.records.catalog.counters import Counters
    from model_provisioner.records.catalog.downloads import DownloadRecord
    from model_provisioner.records.catalog.fetched import FetchRecord
    from model_provisioner.references.mirror import Mirror


@dataclass(kw_only=True)
class Workspace:
    """One project in one run."""

    config: Config
    source: Source
    """The configuration file, as it was parsed."""
    lock: Source
    """The lock file, as it was parsed."""
    state: str
    memo: Memo
    catalog: Catalog
    build_record: BuildRecord
    store: Store
    """What was fetched."""
    lease: Lease
    """What this run uses of the store."""
    roots: Roots
    """What the files lie below that this project writes."""
    rules: Rules = field(default_factory=Rules)
    progress: Progress = silent
    hosts: tuple[str, ...] | None = None
    """The hosts that the user lets be contacted, whatever the configuration allows; None: there is no such limit."""
    offline: str | None = None
    """What forbids this run all network, in words; None where nothing does."""
    window: Window | None = None
    """What hands files to the executor that the user asked for; None: they are read by threads of this process."""
    mirrors: Mirrors = field(default_factory=Mirrors)
    """The places that this run asks for bytes before their sources; none where it is offline."""
    received: set[Identity] = field(default_factory=set)
    """The identities of files that were hashed while this run fetched them."""

    def sha256_target(self, entry: Entry) -> str:
        """Return the path of the entry's `.sha256` file."""
        return os.path.join(self.config.runtime_dir, DIGESTS, f"{entry.name}.sha256")

    @cached_property
    def verifications(self) -> Verifications:
        """The last verification of each entry."""
        return Verifications(self.catalog.database)

    @cached_property
    def fetches(self) -> FetchRecord:
        """What this user fetched."""
        from model_provisioner.records.catalog.fetched import FetchRecord

        return FetchRecord(self.catalog.database)

    @cached_property
    def downloads(self) -> DownloadRecord:
        """What runs of this user downloaded, file by file."""
        from model_provisioner.records.catalog.downloads import DownloadRecord

        return DownloadRecord(self.catalog.database)

    @cached_property
    def counters(self) -> Counters:
        """What this user's runs count."""
        from model_provisioner.records.catalog.counters import Counters

        return Counters(self.catalog.database)

    @property
    def provenance_log(self) -> str:
        """Return the path of the log of verifications, which is written and never read."""
        return os.path.join(self.config.runtime_dir, PROVENANCE, "models.jsonl")

    @cached_property
    def _sources(self) -> tuple[str, str | None]:
        """The SHA-256 of the configuration file and of the lock file, as they were parsed."""
        lock = self.lock.data
        config = hashlib.sha256(self.source.data or b"").hexdigest()
        return config, None if lock is None else hashlib.sha256(lock).hexdigest()

    def policy_of(self, entry: Entry) -> Policy:
        """Return the policy of an entry in this run."""
        config, lock = self._sources
        expected = None if entry.expected is None else str(entry.expected)
        return Policy(expected=expected, strict=entry.strict, config=config, lock=lock)

    def load(self, entries: Collection[Entry]) -> None:
        """Read the records of many entries at once, so that they are not asked for each of them."""
        self.memo.load(entry.ref.path for entry in entries if isinstance(entry.ref, LocalRef))
        self.catalog.load(self.config.root, [entry.name for entry in entries])
        self.build_record.load(entry.handoff for entry in entries)

    def close(self) -> None:
        """Close the records, the store, the folders and the window; their next use opens them again."""
        self.memo.close()
        self.catalog.close()
        self.build_record.close()
        self.store.close()
        self.roots.close()
        if self.window is not None:
            self.window.close()

    def check_policy(self, entry: Entry) -> None:
        """Read the entry's policy again; raise `PolicyChangedError` where it is not what this run began with."""
        try:
            data, lock = self.source.again(), self.lock.again()
            if data == self.source.data and lock == self.lock.data:
                return
            new = with_lock(parse_config(data or b"", self.config.path), lock).entries.get(entry.name)
        except ConfigError:
            new = None
        if new is None or _policy(new) != _policy(entry):
            raise PolicyChangedError(
                f"the policy of {entry.name} changed while the model was verified",
                where=self.config.path,
                expected="the entry at rest",
                found="the entry as it was at the start of the run is no longer there",
                fix="nothing was handed off; run again",
            )


def _policy(entry: Entry) -> tuple[object, ...]:
    beside = [(each.role, each.ref, each.expected) for each in entry.companions]
    return entry.ref, entry.expected, entry.strict, entry.engine, entry.handoff, beside, entry.signature


def open_workspace(
    config_path: str,
    *,
    cache_dir: str | None = None,
    state: str | None = None,
    rules: Rules | None = None,
    progress: Progress = silent,
    window: Window | None = None,
    anew: Collection[str] = (),
    proposed: bytes | None = None,
) -> Workspace:
    """Read the configuration; the records of its project are opened when they are first used.

    The entries `anew` are about to be locked again: the lock file does not hold for them. What is `proposed` counts in the
    place of what the configuration file holds, which need not be there.

    Raises `ConfigError` for the faults of the file, `InputError` for those of the environment, and `StorageError` for a state
    folder that can't be believed, as `state_folder` does. One that can't be made is reported by what needs it: see
    `ensure_state_folder`.
    """
    hosts, offline, mirrors = users_hosts(), offline_reason(), users_mirrors()
    if rules is not None and rules.offline:
        offline = "--offline"
    state = state_folder(os.path.dirname(config_path)) if state is None else state
    path = os.path.abspath(config_path)
    source = Source.of(path, read_config) if proposed is None else Source(path, proposed, read_config, None)
    data = source.data or b""
    cache = ConfigCache.of(data, config_path, cache_dir, state)
    config = cache.read()
    if config is None and proposed is not None:
        config = parse_config(data, config_path, cache_dir=cache_dir)
    elif config is None:
        config = parse_config(data, config_path, cache_dir=cache_dir)
        cache.write(config)
    lock = Source.of(lock_path(config), read_lock)
    return Workspace(
        config=with_lock(config, lock.data, anew),
        source=source,
        lock=lock,
        state=state,
        memo=Memo(state, config.recheck),
        catalog=Catalog(state),
        build_record=BuildRecord(state, project_folder(state, config.root), config.path),
        store=(store := _store_of(config, state)),
        lease=Lease(store),
        roots=roots_of(config),
        rules=rules or Rules(),
        progress=progress,
        window=window,
        hosts=hosts,
        offline=offline,
        mirrors=mirrors_of(config, mirrors, offline),
    )


def mirrors_of(config: Config, users: tuple[Mirror, ...] | None, offline: str | None) -> Mirrors:
    """Return the mirrors that a run asks: the user's, or those of the configuration where the user names none."""
    if offline is not None:
        return Mirrors()
    return Mirrors(config.mirrors if users is None else users)


def look_at_workspace(config_path: str, state: str | None = None) -> Workspace:
    """Read the configuration and open the records of its project read-only. Raises as `open_workspace` does."""
    state = state_folder(os.path.dirname(config_path)) if state is None else state
    source = Source.of(os.path.abspath(config_path), read_config)
    data = source.data or b""
    config = ConfigCache.of(data, config_path, None, state).read() or parse_config(data, config_path)
    lock = Source.of(lock_path(config), read_lock)
    return Workspace(
        config=with_lock(config, lock.data),
        source=source,
        lock=lock,
        state=state,
        memo=Memo(state, config.recheck, database=ReadOnlyDatabase),
        catalog=Catalog.reader(state),
        build_record=BuildRecord(state, project_folder(state, config.root), config.path, database=ReadOnlyDatabase),
        store=(store := _store_of(config, state)),
        lease=Lease(store),
        roots=roots_of(config),
    )


def without_project(catalog: Catalog, cache_dir: str) -> Workspace:
    """Return the workspace of the models that programs register: they are in no project, and nothing is written of them."""
    state = os.path.dirname(catalog.path)
    config = Config(
        path="",
        root=NO_PROJECT,
        cache_dir=cache_dir,
        runtime_dir="",
        allow=(),
        recheck="xxh3",
        answers=(),
        entries={},
        handoffs=(),
    )
    nothing = Source("", None, read_config, None)
    return Workspace(
        config=config,
        source=nothing,
        lock=nothing,
        state=state,
        memo=Memo(state),
        catalog=catalog,
        build_record=BuildRecord(state, state, ""),
        store=(store := _store_of(config, state)),
        lease=Lease(store),
        roots=Roots("/"),
    )


def of_row(catalog: Catalog, row: Model) -> Workspace:
    """Return the workspace of what the records say of one entry, for where its project is gone or can't be read.

    It has no entries: what a run wrote for this one can be found and withdrawn.
    """
    work = without_project(catalog, "")
    folder = project_folder(work.state, row.project) if row.project else work.state
    return replace(
        work,
        config=replace(work.config, path=row.config or "", root=row.project),
        build_record=BuildRecord(work.state, folder, row.config or ""),
        roots=Roots("/", row.project) if row.project else work.roots,
    )


def roots_of(config: Config) -> Roots:
    """Return the project, and the user's own folder for what a run writes.

    What an earlier run wrote elsewhere was recorded without links, and is reached from the top without any.
    """
    is_inside = is_below(config.runtime_dir, config.root)
    return Roots("/", config.root) if is_inside else Roots("/", config.root, config.runtime_dir)


def _store_of(config: Config, state: str) -> Store:
    def is_known() -> bool:
        rows = Catalog.reader(state).retention_rows()
        return any(is_tree(config.cache_dir, row.path) for row in rows if row.path is not None)

    return Store(config.cache_dir, top=config.cache_root, is_known=is_known)
