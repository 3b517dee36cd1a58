"""One run over a project: sweep, fetch, verify, register, publish, in this order, over batches of entries.

Every way into the program goes through here: `doit provision`, the tasks of plain doit, the audit and the Python API. One
entry is a batch of one.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from model_provisioner.config.load import parse_config, read_config
from model_provisioner.engine.batches import at_once, cut, stoppable, together
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import ModelEnded, WorkBegins, silent
from model_provisioner.engine.hand_off import hand_off, hand_off_read
from model_provisioner.engine.register import register
from model_provisioner.engine.retention.usage import note_usage
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.verify import read, verify
from model_provisioner.engine.withdrawal.orphans import withdraw_orphans
from model_provisioner.engine.withdrawal.sweep import sweep, withdraw_all
from model_provisioner.engine.withdrawal.withdraw import retired_error
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import StorageError
from model_provisioner.fs.state_folder import state_folder
from model_provisioner.hashing.threads import as_done
from model_provisioner.records.last_run import note_end
from model_provisioner.references.reference import LocalRef

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from model_provisioner.config.entries import Config
    from model_provisioner.engine.entry_run import Step
    from model_provisioner.engine.events import Progress
    from model_provisioner.engine.rules import Rules
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.verification.reader import Reader
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.hashing.executors.window import Window

FETCHES = 8
"""How many models are fetched at a time."""


class Run:
    """One run over a project, with a record for each entry that it came to. A context manager that closes what it opened."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self.began = time.time_ns()
        """When the run began, in nanoseconds."""
        self.records: dict[str, EntryRun] = {}
        """The entries that this run came to, by name."""
        self.swept = False
        """Whether what can't be confirmed was withdrawn."""
        self.unchanged: frozenset[str] = frozenset()
        """The entries that are current by the snapshot: nothing is asked of them, and they have no record."""
        self.orphans: list[str] = []
        """The artifacts that this run removed because no entry claims them."""
        self.trouble: list[StorageError] = []
        """What kept others from being removed."""

    @classmethod
    def begin(
        cls,
        config_path: str,
        *,
        cache_dir: str | None = None,
        rules: Rules | None = None,
        progress: Progress = silent,
        window: Window | None = None,
        adapt: Callable[[Config], Config] = lambda config: config,
    ) -> Self:
        """Open a project for a run, whose configuration counts as `adapt` returns it. Raises as `open_workspace` does.

        Where the state folder can't be believed, the handoffs of the project are withdrawn, and the error names them.
        """
        try:
            state = state_folder(os.path.dirname(config_path))
        except StorageError as error:
            config = adapt(parse_config(read_config(config_path), config_path, cache_dir=cache_dir))
            names, trouble = withdraw_all(config)
            if names:
                error.what += f"; so nothing confirms the handoffs of {', '.join(names)}: they were withdrawn"
            for each in trouble:
                error.what += f"; {each.what}: {each.where} ({each.found})"
            raise
        work = open_workspace(
            config_path, cache_dir=cache_dir, state=state, rules=rules, progress=progress, window=window
        )
        return cls(replace(work, config=adapt(work.config)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what the run uses of the store, and close its records. Their next use opens them again."""
        self.work.lease.close()
        self.work.close()

    def record(self, name: str) -> EntryRun:
        """Return the record of an entry."""
        if (found := self.records.get(name)) is None:
            found = self.records[name] = EntryRun(self.work.config.entries[name])
        return found

    @cached_property
    def retired(self) -> set[str]:
        """The retired entries, for which nothing is done; none where the catalog can't be read, which the sweep reports."""
        with suppress(StorageError):
            return self.work.catalog.retired(self.work.config.root) & self.work.config.entries.keys()
        return set()

    def sweep(self, names: Iterable[str], *, orphans: bool) -> None:
        """Withdraw the handoffs of entries that can't be confirmed, and `orphans`, before any work.

        Raises `StorageError` where the records can't be read; then every handoff of these entries is gone, and the orphans.
        """
        self.swept = True
        try:
            self.retired.update(sweep(self.work, [self.record(name) for name in names]))
        except Exception:
            orphans = True
            raise
        finally:
            if orphans:
                self.orphans, self.trouble = withdraw_orphans(self.work)

    def provision(self, names: Iterable[str], workers: int) -> Generator[tuple[EntryRun, ...]]:
        """Take every step for entries; yield their records batch by batch, as they are done or have failed.

        Models are read by at most `workers` threads, the largest first, and tiny ones by one more; what is to be fetched
        is fetched beside that. The caller's thread hands off whatever they have read, together: that takes Python, which
        runs in one thread at a time, and transactions, which cost as much for one model as for many. A record that is
        neither `published` nor failed was done by another process meanwhile.

        Raises `ExecutorError`: then no other model is begun, and what was not done stays withdrawn.
        """
        local: list[EntryRun] = []
        remote: list[EntryRun] = []
        for name in names:
            record = self.record(name)
            (local if self._is_here(record) else remote).append(record)
        if local:
            workers = at_once(self.work, local, workers)
        several, tiny, size = cut(self.work, local, workers)
        self.work.progress(WorkBegins(len(local) + len(remote), size))
        alone: list[tuple[EntryRun, ...]] = [(record,) for record in remote]
        fetching, reading = self._fetch_and_read, self._read
        pools = [(fetching, alone, FETCHES), (reading, several, workers), (reading, tiny, 1)]
        with closing(as_done(pools)) as ready:
            for done in ready:
                for some in together(done):
                    hand_off_read(self.work, [reader for _, reader in some])
                    for batch, _ in some:
                        for record in batch:
                            self.work.progress(ModelEnded(record.name))
                        yield batch

    def provision_left(self, names: Iterable[str], workers: int) -> Generator[tuple[EntryRun, ...]]:
        """Take every step for those of these entries that the sweep found neither current nor retired, as `provision` does.

        The first records are those that failed in the sweep: nothing more is tried for them.
        """
        done = self.retired | self.unchanged
        left = [record for name in names if name not in done and not (record := self.record(name)).is_current]
        yield tuple(record for record in left if record.error is not None)
        with closing(self.provision([each.name for each in left if each.error is None], workers)) as batches:
            yield from batches

    def _is_here(self, record: EntryRun) -> bool:
        if record.entry.is_local:
            return True
        from model_provisioner.engine.fetching.fetch import is_present

        return is_present(self.work, record)

    def _fetch_and_read(self, batch: tuple[EntryRun, ...], check: Callable[[], None]) -> Reader:
        from model_provisioner.engine.fetching.fetch import fetch

        for record in batch:
            fetch(self.work, record, check)
        return self._read(tuple(record for record in batch if record.error is None), check)

    def _read(self, batch: tuple[EntryRun, ...], check: Callable[[], None]) -> Reader:
        work = stoppable(self.work, check)
        done = done_by_another(work, batch)
        return read(work, [record for record in batch if record not in done])

    def provision_one(self, name: str) -> Verification:
        """Take every step for one entry, the sweep too. Raises what it failed with, or `RetiredModelError`."""
        self.sweep([name], orphans=False)
        record = self.record(name)
        if name in self.retired:
            raise record.stands or retired_error(self.work, record.entry)
        for _ in self.provision([name], 1):
            pass
        self.advance(record, "handoff")
        assert record.verification is not None
        return record.verification

    def advance(self, record: EntryRun, step: Step) -> None:
        """Take one step of an entry, and those before it that this run did not take. Raises what the entry failed with.

        A step that was taken is not taken again, and none is after a failure.
        """
        if record.error is None and not record.published:
            record.advanced = True
            record.reasons = None
            if step == "fetch":
                from model_provisioner.engine.fetching.fetch import fetch

                fetch(self.work, record)
            elif step == "handoff":
                hand_off(self.work, [record])
            else:
                if step == "verify" or record.verification is None:
                    verify(self.work, [record])
                if step == "register" and record.error is None:
                    register(self.work, [record])
        if record.error is not None:
            raise record.error

    def is_done(self, record: EntryRun, step: Step) -> bool:
        """Tell whether a step need not be taken. What follows a step that this run took is taken without a look."""
        if record.error is not None or (step != "verify" and record.advanced):
            return False
        if record.reasons is None and not record.published:
            record.reasons = reasons(self.work, record)
            record.why = record.why or record.reasons
        why = record.why if record.published else record.reasons
        return not any(reason.step == step for reason in why or ())

    @property
    def lost(self) -> list[EntryRun]:
        """The entries whose handoff this run withdrew, and that do not have it back, those that failed among them."""
        return [each for each in self.records.values() if each.withdrawn and each.name not in self.retired]

    @property
    def stuck(self) -> list[EntryRun]:
        """The entries with a handoff that can't be confirmed and could not be removed, retired ones too: see `stands`."""
        return [each for each in self.records.values() if each.stands is not None]

    def finish(self) -> None:
        """Note in the store what the project uses of it, and release it: from now on its handoffs hold that.

        Note as well that a run of the project ended.
        """
        note_usage(self.work, self.records)
        note_end(self.work.state, self.work.config.root)


def done_by_another(work: Workspace, records: Sequence[EntryRun]) -> set[EntryRun]:
    """Return the entries that another process provisioned since this run began."""
    paths = {record: record.entry.ref.path for record in records if isinstance(record.entry.ref, LocalRef)}
    members = (member.path for record in records if record.files is not None for member in record.files.members)
    work.memo.load_again((*paths.values(), *members))
    known = [
        record
        for record in records
        if record not in paths or os.path.isdir(paths[record]) or work.memo.known(paths[record]) is not None
    ]
    if not known:
        return set()
    work.load([record.entry for record in known])
    done = set()
    for record in known:
        record.reasons = reasons(work, record)
        if not record.reasons:
            record.withdrawn, record.stands = False, None
            done.add(record)
    return done
