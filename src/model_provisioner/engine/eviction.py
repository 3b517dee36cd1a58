"""Prune: let what was not used for longest go from the store, so that it keeps to its bound; and room before a fetch."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_provisioner.engine.retention import Holding, tree_of
from model_provisioner.errors import FetchError
from model_provisioner.store.inventory import remove, stock
from model_provisioner.store.lease import alone, leased
from model_provisioner.store.partial import stem_of
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.store.inventory import Item, Stock
    from model_provisioner.store.lease import Leased
    from model_provisioner.store.store import Store

SHOWN = 5
"""How many of those that may not go are named."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one part of a store stands."""

    item: Item
    name: str
    """What it is, as a person knows it."""
    used: int
    """When it was last used, in seconds since the epoch."""
    frees: int
    """How many bytes are free when it is gone; 0 of what may not go."""
    held: str
    """What keeps it here, in words; an empty text where it may go."""
    blobs: tuple[str, ...] = ()
    """Those that go with it."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What went, or would go, and what stays."""

    gone: tuple[Standing, ...]
    stay: tuple[Standing, ...]
    """The last used first."""
    size: int
    """Bytes of the store afterwards."""
    limit: int | None

    @property
    def is_over(self) -> bool:
        """Tell whether the store still holds more than it may."""
        return self.limit is not None and self.size > self.limit


def look(work: Workspace) -> Pruned:
    """Say how the store stands; nothing is changed. Raises `StorageError` where the records can't be read."""
    found = leased(work.store)
    here = stock(work.store)
    standing = _standing(work, here, found)
    return Pruned(gone=(), stay=tuple(reversed(standing)), size=here.size, limit=work.config.max_size)


def would_prune(work: Workspace, unused_for: int | None = None) -> Pruned:
    """Say what `prune` would do now; nothing is changed. Raises `StorageError`."""
    return _pruned(work, leased(work.store), unused_for, act=lambda _: True)


def prune(work: Workspace, unused_for: int | None = None) -> Pruned:
    """Let go what was not used for so many seconds, then what was not used for longest, until the store keeps its bound.

    Nothing goes that a handoff names, `keep` or a lock of the user's projects holds, a living run uses or a project of
    another machine used of late. Raises `StorageError` where what holds it can't be told; then nothing goes.
    """
    if not os.path.isdir(work.store.root):
        return Pruned(gone=(), stay=(), size=0, limit=work.config.max_size)
    with alone(work.store) as found:
        return _pruned(work, found, unused_for, act=lambda each: remove(work.store, each.item, each.blobs))


def make_room(work: Workspace, name: str, sizes: Mapping[str, int]) -> list[str]:
    """Evict so much that a fetch of the entry `name` fits, whose files have these keys and sizes in bytes.

    Return what was evicted, in words. The room is kept for it until its lease says that no more is expected. Raises
    `FetchError` if it can't fit; then nothing goes.
    """
    limit = work.config.max_size
    if limit is None or not sizes:
        return []
    with alone(work.store) as found:
        work.lease.expect(sizes)
        here = stock(work.store)
        expected = {**found.expected, **{stem_of(key): size for key, size in sizes.items()}}
        coming = sum(max(0, size - here.arriving.get(stem, 0)) for stem, size in expected.items())
        disk = os.statvfs(work.store.root)
        over = max(here.size + coming - limit, coming - disk.f_bavail * disk.f_frsize)
        if over <= 0:
            return []
        mine = {stem_of(key) for key in sizes}
        standing = _standing(work, here, found, mine)
        chosen, freed = _choose(standing, over, before=None)
        if freed < over:
            work.lease.expect_no_more(sizes)
            stays = here.size - sum(each.frees for each in chosen)
            others = sum(
                max(0, size - here.arriving.get(stem, 0)) for stem, size in expected.items() if stem not in mine
            )
            raise _no_room(work, name, sum(sizes.values()), stays, others, standing)
        return [
            f"{each.name} ({human(each.frees)}, last used {day(each.used)}) went from the store to make room"
            for each in chosen
            if remove(work.store, each.item, each.blobs)
        ]


def day(seconds: int) -> str:
    """Return the day, in UTC, of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _pruned(work: Workspace, found: Leased, unused_for: int | None, *, act: Callable[[Standing], bool]) -> Pruned:
    here = stock(work.store)
    standing = _standing(work, here, found)
    limit = work.config.max_size
    over = 0 if limit is None else here.size - limit
    chosen, _ = _choose(standing, over, before=None if unused_for is None else time.time() - unused_for)
    gone = tuple(each for each in chosen if act(each))
    places = {each.item.place for each in gone}
    stay = tuple(each for each in reversed(standing) if each.item.place not in places)
    return Pruned(gone=gone, stay=stay, size=here.size - sum(each.frees for each in gone), limit=limit)


def _standing(work: Workspace, here: Stock, found: Leased, mine: Iterable[str] = ()) -> list[Standing]:
    """Return how the parts of the store stand, the longest unused first; `mine` are the stems of what is to come.

    What a part frees is what is left of it when all before it that may go are gone.
    """
    holding = Holding(work, here, found)
    used = holding.last_use()
    names = _names(work.store)
    left = Counter(blob for item in here.items for blob in item.blobs)
    standing = []
    for item in sorted(here.items, key=lambda each: (used[each.place], each.place)):
        held = _held(item, holding.why, {*found.expected, *mine})
        blobs: list[str] = []
        if not held:
            left.subtract(item.blobs)
            blobs = sorted(blob for blob in item.blobs if not left[blob] and blob not in holding.why)
        frees = sum(here.blobs[blob] for blob in blobs) if item.blobs else 0 if held else item.size
        standing.append(
            Standing(
                item=item,
                name=names.get(item.place, item.place),
                used=used[item.place],
                frees=frees,
                held=held,
                blobs=tuple(blobs),
            )
        )
    return standing


def _held(item: Item, why: Mapping[str, str], expected: Collection[str]) -> str:
    """Return what keeps an item where it is; an empty text where nothing does."""
    if item.kind == "download":
        is_expected = os.path.basename(item.place).partition(".")[0] in expected
        return "being fetched" if item.owned or is_expected else ""
    if not item.blobs or not item.blobs <= why.keys():
        return ""
    return why[min(item.blobs)]


def _choose(standing: Sequence[Standing], over: int, before: float | None) -> tuple[list[Standing], int]:
    """Return what goes so that `over` bytes are free and nothing stays that was last used `before`; and what that frees."""
    chosen: list[Standing] = []
    freed = 0
    for each in standing:
        if freed >= over and (before is None or each.used >= before):
            break
        if not each.held:
            chosen.append(each)
            freed += each.frees
    gone = {blob for each in chosen for blob in each.blobs}
    # What frees nothing goes only with what it shares its bytes with.
    return [each for each in chosen if each.frees or gone & each.item.blobs], freed


def _names(store: Store) -> dict[str, str]:
    """Return what trees are of, as a person knows it, by place."""
    return {tree_of(store, record.tree): record.ref for record in store.records()}


def holders(standing: Iterable[Standing]) -> list[str]:
    """Return, in words, what may not go: the largest first."""
    held = sorted((each for each in standing if each.held), key=lambda each: (-each.item.size, each.name))
    told = [f"{human(each.item.size)} {each.name}: {each.held}" for each in held[:SHOWN]]
    more = held[SHOWN:]
    return told + ([f"{human(sum(each.item.size for each in more))} in {len(more)} more"] if more else [])


def _no_room(
    work: Workspace, name: str, need: int, stays: int, others: int, standing: Sequence[Standing]
) -> FetchError:
    limit = work.config.max_size or 0
    disk = os.statvfs(work.store.root)
    full = "" if stays + others + need > limit else f" ({human(disk.f_bavail * disk.f_frsize)} are free on its disk)"
    held = "; ".join(holders(standing) + ([f"{human(others)} that other fetches are about to need"] if others else []))
    return FetchError(
        f"{name} does not fit into the store",
        where=f"{work.store.root} (cache.max_size: {human(limit)})",
        expected=f"room for {human(need)}",
        found=f"{human(stays + others)} that can't go{full}" + (f": {held}" if held else ""),
        fix="raise cache.max_size in models.yaml, or let something go: what no handoff, lock, run or `keep: true` holds",
    )
