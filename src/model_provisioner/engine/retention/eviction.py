"""Eviction: what was not used for longest leaves the store, so that it stays within its limit or a fetch fits."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.engine.retention.roots import RetentionRoots, tree_of, used_elsewhere
from model_provisioner.errors import FetchError
from model_provisioner.store.inventory import inventory, remove
from model_provisioner.store.layout import stem_in, stem_of
from model_provisioner.store.lease import alone, leased
from model_provisioner.store.owners import UNTIL_DEAD, Witness
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.inventory import Inventory, Item
    from model_provisioner.store.lease import Leased

SHOWN = 5
"""How many of those that can't be evicted are named."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An item of the store, and whether it may be evicted."""

    item: Item
    name: str
    """What it is, as a person knows it."""
    used: int
    """When it was last used, in seconds since the epoch."""
    frees: int
    """How many bytes its eviction frees; 0 of what can't be evicted."""
    held: str
    """What keeps it in the store, in words; an empty text where nothing does."""
    blobs: tuple[str, ...] = ()
    """Those that are removed with it, by SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """What was evicted, or would be, and what stays."""

    gone: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    """The last used first."""
    size: int
    """Bytes of the store afterwards."""
    limit: int | None

    @property
    def is_over(self) -> bool:
        """Tell whether the store still holds more than it may."""
        return self.limit is not None and self.size > self.limit


def survey(work: Workspace) -> Eviction:
    """Return what is in the store; nothing is evicted. Raises `StorageError` where the records can't be read."""
    return _evict(_look(work), None, remove=lambda _: [])


def plan_prune(work: Workspace, unused_for: int | None = None) -> Eviction:
    """Return what `prune` would do now; nothing is evicted. Raises `StorageError`."""
    return _evict(_look(work), unused_for, remove=lambda chosen: chosen)


def prune(work: Workspace, unused_for: int | None = None) -> Eviction:
    """Evict what was not used for `unused_for` seconds, then what was not used for longest, until the store is in its limit.

    What a retention root needs stays: see `RetentionRoots`. Raises `StorageError` where the roots can't be read; then
    nothing is evicted.
    """
    if not os.path.isdir(work.store.root):
        return Eviction(gone=(), kept=(), size=0, limit=work.config.max_size)
    with _alone(work) as look:
        return _evict(look, unused_for, remove=look.remove)


def make_room(work: Workspace, name: str, sizes: Mapping[str, int]) -> list[str]:
    """Evict as much as a fetch of the entry `name` needs, whose files have these keys and sizes in bytes.

    Return what was evicted, in words. The room is kept for the fetch until its lease says that no more is expected.
    Raises `FetchError` if it can't fit; then nothing is evicted.
    """
    limit = work.config.max_size
    if limit is None or not sizes:
        return []
    with _alone(work) as look:
        found, here = look.leased, look.here
        work.lease.expect(sizes)
        mine = {stem_of(key): size for key, size in sizes.items()}
        others = {stem: size for stem, size in found.expected.items() if stem not in mine}
        coming = _to_come(mine, here) + _to_come(others, here)
        over = max(here.size + coming - limit, coming - _free_on_disk(work))
        if over <= 0:
            return []
        candidates = _candidates(look, mine)
        chosen, freed = _choose(candidates, over, before=None)
        if freed < over:
            work.lease.expect_no_more(sizes)
            stays = here.size - sum(each.frees for each in chosen)
            raise _no_room(work, name, sum(sizes.values()), stays, _to_come(others, here), candidates)
        return [
            f"{each.name} ({human(each.frees)}, last used {day(each.used)}) went from the store to make room"
            for each in look.remove(chosen)
        ]


def day(seconds: int) -> str:
    """Return the day, in UTC, of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def describe_held(candidates: Iterable[Candidate]) -> list[str]:
    """Return, in words, what can't be evicted: the largest first."""
    held = sorted((each for each in candidates if each.held), key=lambda each: (-each.item.size, each.name))
    named = [f"{human(each.item.size)} {each.name}: {each.held}" for each in held[:SHOWN]]
    more = held[SHOWN:]
    return named + ([f"{human(sum(each.item.size for each in more))} in {len(more)} more"] if more else [])


@dataclass(frozen=True)
class _Look:
    """What is in the store, and who uses it, at one moment."""

    work: Workspace
    witness: Witness
    leased: Leased
    here: Inventory
    now: float
    """In seconds since the epoch, by the store's clock."""

    def remove(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        """Remove what was chosen; return what is gone: not what a run of another host began to use since the look."""
        work = self.work

        def in_use() -> set[str]:
            return used_elsewhere(work, self.here, leased(work.store, self.witness), self.now)

        gone = {each.place for each in remove(work.store, [(each.item, each.blobs) for each in chosen], in_use)}
        return [each for each in chosen if each.item.place in gone]


def _look(work: Workspace) -> _Look:
    """Look without changing anything: the store's clock can't be asked."""
    witness = Witness(work.store, work.state)
    return _Look(work, witness, leased(work.store, witness), inventory(work.store, witness), time.time())


@contextmanager
def _alone(work: Workspace) -> Iterator[_Look]:
    """Look while others note no use, and remember who was seen. Raises `StorageError`."""
    witness = Witness(work.store, work.state)
    with alone(work.store, witness) as found:
        here = inventory(work.store, witness)
        witness.remember()
        yield _Look(work, witness, found, here, work.store.now())


def _evict(
    look: _Look, unused_for: int | None, *, remove: Callable[[Sequence[Candidate]], Iterable[Candidate]]
) -> Eviction:
    """Call `remove` with the items that are to be evicted; it returns those that are gone."""
    here, candidates = look.here, _candidates(look)
    limit = look.work.config.max_size
    over = 0 if limit is None else here.size - limit
    chosen, _ = _choose(candidates, over, before=None if unused_for is None else look.now - unused_for)
    gone = tuple(remove(chosen))
    places = {each.item.place for each in gone}
    kept = tuple(each for each in reversed(candidates) if each.item.place not in places)
    return Eviction(gone=gone, kept=kept, size=here.size - sum(each.frees for each in gone), limit=limit)


def _candidates(look: _Look, mine: Iterable[str] = ()) -> list[Candidate]:
    """Return the items of the store, the longest unused first; `mine` are the stems of what is about to be fetched.

    What an item frees is what is left of it when all before it that may be evicted are gone.
    """
    work, here = look.work, look.here
    roots = RetentionRoots(work, here, look.leased, look.now)
    used = roots.last_use()
    names = {tree_of(work.store, record.tree): record.ref for record in work.store.records()}
    expected = {*look.leased.expected, *mine}
    left = Counter(blob for item in here.items for blob in item.blobs)
    candidates = []
    for item in sorted(here.items, key=lambda each: (used[each.place], each.place)):
        held = _held(item, roots, expected)
        blobs: list[str] = []
        if not held:
            left.subtract(item.blobs)
            blobs = sorted(blob for blob in item.blobs if not left[blob] and blob not in roots.reasons)
        frees = sum(here.blobs[blob] for blob in blobs) if item.blobs else 0 if held else item.size
        name = names.get(item.place) or item.ref or item.place
        candidates.append(
            Candidate(item=item, name=name, used=used[item.place], frees=frees, held=held, blobs=tuple(blobs))
        )
    return candidates


def _held(item: Item, roots: RetentionRoots, expected: Collection[str]) -> str:
    """Return what keeps an item in the store; an empty text where nothing does."""
    if item.kind == "download":
        if item.owner == "elsewhere":
            return f"being fetched by another host, {UNTIL_DEAD}"
        if item.owner or stem_in(os.path.basename(item.place)) in expected:
            return "being fetched"
        return roots.named.get(item.ref or "", "")
    return roots.reasons[min(item.blobs)] if item.blobs and item.blobs <= roots.reasons.keys() else ""


def _choose(candidates: Sequence[Candidate], over: int, before: float | None) -> tuple[list[Candidate], int]:
    """Return what to evict so that `over` bytes are free and nothing stays that was last used `before`; and what that frees."""
    chosen: list[Candidate] = []
    freed = 0
    for each in candidates:
        if freed >= over and (before is None or each.used >= before):
            break
        if not each.held:
            chosen.append(each)
            freed += each.frees
    gone = {blob for each in chosen for blob in each.blobs}
    # What frees nothing goes only with what it shares its bytes with.
    return [each for each in chosen if each.frees or gone & each.item.blobs], freed


def _to_come(expected: Mapping[str, int], here: Inventory) -> int:
    """Return how many bytes of what is expected, by stem, are not here yet."""
    return sum(max(0, size - here.arriving.get(stem, 0)) for stem, size in expected.items())


def _free_on_disk(work: Workspace) -> int:
    disk = os.statvfs(work.store.root)
    return disk.f_bavail * disk.f_frsize


def _no_room(
    work: Workspace, name: str, need: int, stays: int, others: int, candidates: Sequence[Candidate]
) -> FetchError:
    limit = work.config.max_size or 0
    full = "" if stays + others + need > limit else f" ({human(_free_on_disk(work))} are free on its disk)"
    held = describe_held(candidates)
    if others:
        held.append(f"{human(others)} that other fetches are about to need")
    return FetchError(
        f"{name} does not fit into the store",
        where=f"{work.store.root} (cache.max_size: {human(limit)})",
        expected=f"room for {human(need)}",
        found=f"{human(stays + others)} that can't go{full}" + (f": {'; '.join(held)}" if held else ""),
        fix="raise cache.max_size in models.yaml, or let something go: what no handoff, lock, run or `keep: true` holds",
    )
