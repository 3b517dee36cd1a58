"""Batches: which entries are provisioned together, so that what would be paid for each is paid once."""

from __future__ import annotations

import os
import resource
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.identity import size_or_zero
from model_provisioner.hashing.streaming import BUFFER
from model_provisioner.references.reference import LocalRef
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.events import Event
    from model_provisioner.engine.verification.reader import Reader
    from model_provisioner.engine.workspace import Workspace

MODELS = 128
"""How many models a batch has at the most."""
TINY = 64 << 10
"""Models up to so many bytes take Python longer than the hashing, and Python runs in one thread at a time."""
BYTES = 32 << 20
"""What a batch of several models reads at the most, more or less: that much a kill may make to be read once more."""

AT_ONCE = 64
"""How many models, or batches of small ones, an executor's workers read at a time at the most: so many have no handoff then."""


def cut(
    work: Workspace, records: Sequence[EntryRun], workers: int
) -> tuple[list[tuple[EntryRun, ...]], list[tuple[EntryRun, ...]], int]:
    """Return the batches in which entries are provisioned: those for `workers` threads, and tiny ones for one thread.

    A large model is a batch of its own. A second thread of tiny ones would only make both wait. The number is how many bytes
    are to be read, more or less.
    """
    total = 0
    large: list[tuple[int, EntryRun]] = []
    small: list[tuple[str, int, EntryRun]] = []
    tiny: list[tuple[str, int, EntryRun]] = []
    for record in records:
        path = record.entry.ref.path if isinstance(record.entry.ref, LocalRef) else ""
        size = _size(work, record, path)
        total += size if any(reason.step == "verify" for reason in record.reasons or ()) else 0
        if size > BUFFER:
            large.append((size, record))
        else:
            (small if size > TINY else tiny).append((path, size, record))
    large.sort(key=lambda each: each[0], reverse=True)
    return [(record,) for _, record in large] + _together(small, workers), _together(tiny, 1), total


def together(
    done: Iterable[tuple[tuple[EntryRun, ...], Reader]],
) -> Iterator[list[tuple[tuple[EntryRun, ...], Reader]]]:
    """Yield batches that were read, as many together as may be handed off at once."""
    limit, total = _models_at_once(1), 0
    some: list[tuple[tuple[EntryRun, ...], Reader]] = []
    for batch, reader in done:
        if some and total + len(batch) > limit:
            yield some
            some, total = [], 0
        some.append((batch, reader))
        total += len(batch)
    if some:
        yield some


def at_once(work: Workspace, records: Iterable[EntryRun], workers: int) -> int:
    """Return how many models are read side by side: by so many threads here, or as many as keep the executor's workers busy.

    An executor is asked only where a model has to be read. Raises `ExecutorError` where it can't be reached then.
    """
    if work.window is None or not any(_is_read(work, record) for record in records):
        return workers
    return min(AT_ONCE, work.window.slots + 2)


def _is_read(work: Workspace, record: EntryRun) -> bool:
    """Tell whether workers are to read files of a model."""
    try:
        paths = [member.path for member in resolve(work, record).members]
    except ProvisionError:
        return False  # the verify step reports why
    memo = work.memo
    return work.rules.full or any(memo.known(path) is None and memo.doubted(path) is None for path in paths)


def stoppable(work: Workspace, check: Callable[[], None]) -> Workspace:
    """Return the workspace for a thread: what `check` raises ends a reading whose result is no longer wanted."""

    def progress(event: Event) -> None:
        check()
        work.progress(event)

    return replace(work, progress=progress)


def _together(models: list[tuple[str, int, EntryRun]], workers: int) -> list[tuple[EntryRun, ...]]:
    """Put models, given with path and size, together by their folders, for which there is one lock each."""
    limit = _models_at_once(workers)
    batches: list[tuple[EntryRun, ...]] = []
    batch: list[EntryRun] = []
    total = 0
    for _, size, record in sorted(models, key=lambda each: each[0]):
        if len(batch) == limit or total + size > BYTES:
            batches.append(tuple(batch))
            batch, total = [], 0
        batch.append(record)
        total += size
    return [*batches, tuple(batch)] if batch else batches


def _models_at_once(workers: int) -> int:
    """Return how many models each of several batches may have: this process may open so many files and no more.

    Of a model there are up to two open at a time, a draft and a lock; half of the files are left to others.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MODELS if files == resource.RLIM_INFINITY else max(1, min(MODELS, files // 4 // workers))


def _size(work: Workspace, record: EntryRun, path: str) -> int:
    """Return the size of a model in bytes, 0 where it can't be read: the verify step reports why."""
    try:
        if path and stat.S_ISREG((status := os.stat(path)).st_mode) and split_names(path) is None:
            return status.st_size
        return sum(size_or_zero(member.path) for member in resolve(work, record).members)
    except (OSError, ProvisionError):
        return 0
