"""What the tasks of one doit process share: the open workspace, and what they learned of each entry.

doit hands its tasks nothing but their arguments, and in process mode calls them in a forked child. So they name the
configuration file, and the workspace is found, or opened again, here.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_provisioner.engine.sweep import sweep
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.withdraw import withdraw_orphans
from model_provisioner.engine.workspace import Workspace, open_workspace
from model_provisioner.errors import StorageError
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.records.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.events import Progress
    from model_provisioner.engine.examine import Verification
    from model_provisioner.engine.rules import Rules
    from model_provisioner.engine.up_to_date import Reason, Step
    from model_provisioner.errors import ProvisionError


@dataclass(kw_only=True)
class Session:
    """One workspace, as the tasks of a run see it."""

    work: Workspace
    began: int = field(default_factory=time.time_ns)
    """When the run began, in nanoseconds."""
    swept: bool = False
    """Whether this run took back what it can't confirm before its tasks began."""
    asked: dict[str, bool] = field(default_factory=dict)
    """The entries whose verify task this run came to, and whether it has work to do."""
    why: dict[str, list[Reason]] = field(default_factory=dict)
    """Why an entry was not current when the run came to it."""
    withdrawn: set[str] = field(default_factory=set)
    """The entries whose handoff this run took back."""
    retired: set[str] = field(default_factory=set)
    """The entries that are retired: nothing is done for them."""
    gives_out: bool = False
    """Whether a project's task that needs the handoff of a retired model fails, and nothing else comes to it."""
    omitted: frozenset[str] = frozenset()
    """The entries that are current, by the snapshot or by the sweep: they have no tasks."""
    finished: set[str] = field(default_factory=set)
    """The entries that were provisioned before doit's tasks were made: they have none."""
    failed: dict[str, ProvisionError] = field(default_factory=dict)
    """What their tasks have to report of the entries that could not be."""
    handed_off: dict[str, Verification] = field(default_factory=dict)
    """What this run verified and handed off, by entry."""
    orphans: list[str] = field(default_factory=list)
    """The artifacts that this run removed because no entry claims them."""
    trouble: list[StorageError] = field(default_factory=list)
    """What kept others from being removed."""
    awaited: set[str] = field(default_factory=set)
    """The entries whose models other tasks of this run may make."""
    did: set[str] = field(default_factory=set)
    """The entries that a step was done for."""
    warns: bool = True
    """Whether a step has to say itself what the reporter does not."""
    _known: dict[str, list[Reason]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def entry(self, name: str) -> Entry:
        """Return an entry of the configuration."""
        return self.work.config.entries[name]

    def sweep(self, names: Collection[str], *, orphans: bool) -> None:
        """Take back the handoffs of the entries `names` that can't be confirmed, and `orphans`, before any work.

        Raises `StorageError` where the records can't be read; then every handoff of these entries is gone.
        """
        self.swept = True
        for name, found in sweep(self.work, [self.entry(name) for name in names]).items():
            if found.retired:
                self.retired.add(name)
                continue
            if not found.reasons:
                self._known[name] = found.reasons
                continue
            self.why[name] = found.reasons
            if found.withdrawn:
                self.withdrawn.add(name)
        if orphans:
            self.orphans, self.trouble = withdraw_orphans(self.work)

    def sweep_again(self) -> None:
        """Take back the handoffs of models that other tasks may have changed, and that no verify step looked at since."""
        if left := self.awaited - self.asked.keys():
            self.sweep(left, orphans=False)

    @property
    def current(self) -> list[str]:
        """The entries that the sweep found current and that nothing was done to since."""
        return [name for name, found in self._known.items() if not found]

    def is_current(self, name: str, step: Step) -> bool:
        """Tell whether a step of an entry need not be done. What follows a step that this run did is done without a look."""
        if step != "verify" and name in self.did:
            return False
        with self._lock:
            if (found := self._known.get(name)) is None:
                found = self._known[name] = reasons(self.work, self.entry(name))
                self.why.setdefault(name, found)
        current = not any(reason.step == step for reason in found)
        if step == "verify":
            self.asked[name] = not current
        return current

    def look_again(self, name: str) -> None:
        """Note that something was done to the entry, so that what is left is looked at anew."""
        with self._lock:
            self._known.pop(name, None)


_sessions: dict[str, Session] = {}


def session(config_path: str) -> Session:
    """Return the session of a configuration file, opened at its first use in this process."""
    if config_path not in _sessions:
        work = open_workspace(config_path)
        ensure_state_folder(work.state)
        _sessions[config_path] = Session(work=work, retired=_retired(work))
    return _sessions[config_path]


def begin(config_path: str, *, rules: Rules, progress: Progress) -> Session:
    """Open a fresh session for a run under `rules`; its `sweep` is to come first."""
    work = open_workspace(config_path, rules=rules, progress=progress)
    _sessions[config_path] = Session(work=work, retired=_retired(work), gives_out=True)
    return _sessions[config_path]


def _retired(work: Workspace) -> set[str]:
    """Return the retired entries; none where the catalog can't be read, which the steps that need it will tell."""
    with suppress(StorageError):
        return Catalog.reader(work.state).retired(work.config.root) & work.config.entries.keys()
    return set()
