"""Provision many models: in batches, which pay once for what would be paid for each, by several threads."""

from __future__ import annotations

import os
import resource
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.run import hand_off
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.verify import size_of
from model_provisioner.errors import ProvisionError
from model_provisioner.hashing.streaming import BUFFER
from model_provisioner.hashing.threads import in_threads
from model_provisioner.references.reference import LocalRef
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.events import Event
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.store import Store

MODELS = 128
"""How many models a batch has at the most."""
TINY = 64 << 10
"""Models up to so many bytes take Python longer than the hashing, and Python runs in one thread at a time."""
BYTES = 32 << 20
"""What a batch of several models reads at the most, more or less: that much a kill may make to be read once more."""


def provision_in_batches(
    work: Workspace, entries: Sequence[Entry], workers: int
) -> Iterator[dict[str, bool | ProvisionError | None]]:
    """Take every step for entries; yield batch by batch what came of them, by entry, as they are done.

    That is whether the bytes of the handoff changed, the error for which there is none, or None where another process
    provisioned the model meanwhile. Large models come first, the largest before all; tiny ones come last, and in one thread:
    a second one would only make both wait.
    """

    def run(batch: tuple[Entry, ...], check: Callable[[], None]) -> dict[str, bool | ProvisionError | None]:
        def progress(event: Event) -> None:
            work.progress(event)
            check()  # ends a reading whose result nobody waits for any more

        mine = replace(work, progress=progress)
        mine.load(batch)
        left = [entry for entry in batch if not _is_done(mine, entry)]
        return dict.fromkeys((entry.name for entry in batch), None) | hand_off(mine, left)

    shared, tiny = cut(work.store, entries, workers)
    for _, results in in_threads(run, shared, workers):
        yield results
    for _, results in in_threads(run, tiny, 1):
        yield results


def cut(
    store: Store, entries: Sequence[Entry], workers: int
) -> tuple[list[tuple[Entry, ...]], list[tuple[Entry, ...]]]:
    """Return the batches in which entries are provisioned: those for `workers` threads, and those for one.

    A large model is a batch of its own.
    """
    large: list[tuple[int, Entry]] = []
    small: list[tuple[str, int, Entry]] = []
    tiny: list[tuple[str, int, Entry]] = []
    for entry in entries:
        path = entry.ref.path if isinstance(entry.ref, LocalRef) else ""
        size = _size(store, entry, path)
        if size > BUFFER:
            large.append((size, entry))
        else:
            (small if size > TINY else tiny).append((path, size, entry))
    large.sort(key=lambda each: each[0], reverse=True)
    return [(entry,) for _, entry in large] + _together(small, workers), _together(tiny, 1)


def _together(models: list[tuple[str, int, Entry]], workers: int) -> list[tuple[Entry, ...]]:
    """Put models, given with path and size, together by their folders, for which there is one lock each."""
    limit = _models_at_once(workers)
    batches: list[tuple[Entry, ...]] = []
    batch: list[Entry] = []
    total = 0
    for _, size, entry in sorted(models, key=lambda each: each[0]):
        if len(batch) == limit or total + size > BYTES:
            batches.append(tuple(batch))
            batch, total = [], 0
        batch.append(entry)
        total += size
    return [*batches, tuple(batch)] if batch else batches


def _models_at_once(workers: int) -> int:
    """Return how many models each of several batches may have: this process may open so many files and no more.

    Of a model there are up to two open at a time, a draft and a lock; half of the files are left to others.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MODELS if files == resource.RLIM_INFINITY else max(1, min(MODELS, files // 4 // workers))


def _size(store: Store, entry: Entry, path: str) -> int:
    """Return the bytes of a model, 0 where that can't be told: it is told when its turn comes."""
    try:
        if path and stat.S_ISREG((status := os.stat(path)).st_mode) and split_names(path) is None:
            return status.st_size
        return sum(size_of(member.path) for member in resolve_entry(entry, store).members)
    except (OSError, ProvisionError):
        return 0


def _is_done(work: Workspace, entry: Entry) -> bool:
    """Tell whether another process provisioned the model since this run began."""
    ref = entry.ref
    if isinstance(ref, LocalRef) and work.memo.known(ref.path) is None and not os.path.isdir(ref.path):
        return False
    return not reasons(work, entry)
