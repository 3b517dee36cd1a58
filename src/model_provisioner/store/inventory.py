"""The inventory: what a store holds, in the parts that stay or are removed as one, and how one of them is removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.references.digest import SHA256_HEX
from model_provisioner.store.arriving.left import remove_unowned
from model_provisioner.store.arriving.note import Note
from model_provisioner.store.layout import BLOBS, NAMED, PARTIAL, QUARANTINE, TREES, blob_place, stem_in, store_error
from model_provisioner.store.tree import KEY, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from model_provisioner.errors import StorageError
    from model_provisioner.fs.folder import Folder
    from model_provisioner.store.layout import Layout
    from model_provisioner.store.owners import Witness


@dataclass(frozen=True, kw_only=True)
class Item:
    """A part of the inventory that stays or is removed as one."""

    kind: Literal["model", "file", "download", "damaged"]
    """A tree with its blobs; a blob without a tree; what a dead run left of a download; what held wrong bytes."""
    place: str
    """Relative to the store; of a model, to its trees."""
    size: int
    """In bytes; of a model, with blobs that it shares with others."""
    made: int
    """When it came, in seconds since the epoch."""
    blobs: frozenset[str] = frozenset()
    """By SHA-256."""
    owner: Literal["here", "elsewhere"] | None = None
    """Whose a download is: of a run that lives, or of one that may live and that only renewals tell of."""
    ref: str | None = None
    """The id of what a download was asked for by, as its note says; a member of a group may have written that."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a store holds."""

    items: tuple[Item, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Bytes, by SHA-256."""
    arriving: Mapping[str, int] = field(default_factory=dict)
    """Bytes that are on their way, by the stem of their files, whoever owns them."""
    size: int = 0
    """Bytes of all files; the links of trees, records and locks are not counted."""


def inventory(store: Layout, witness: Witness) -> Inventory:
    """Return what a store holds, less what can't be inspected. No file is read; nothing is raised."""
    blobs = [(place, name, found) for place, name, found in _files(store, BLOBS) if SHA256_HEX.fullmatch(name)]
    sizes = {name: found.st_size for _, name, found in blobs}
    items, in_trees = [], set()
    for tree, made, names in _trees(store):
        there = names & sizes.keys()
        in_trees |= there
        size = sum(sizes[each] for each in there)
        items.append(Item(kind="model", place=tree, size=size, made=made, blobs=frozenset(there)))
    for place, name, found in blobs:
        if name not in in_trees:
            items.append(_item("file", place, found, blobs=frozenset({name})))
    arriving: dict[str, int] = {}
    for place, name, found in _files(store, PARTIAL):
        if (stem := stem_in(name)) is not None:
            arriving[stem] = arriving.get(stem, 0) + found.st_size
            folder = store.held(PARTIAL)
            owner, ref = _owner(folder, name, witness), Note.read(folder, name).ref
            items.append(_item("download", place, found, owner=owner, ref=ref))
    for place, name, found in _files(store, QUARANTINE):
        if NAMED.fullmatch(name):
            items.append(_item("damaged", place, found))
    rest = sum(item.size for item in items if item.kind in {"download", "damaged"})
    return Inventory(items=tuple(items), blobs=sizes, arriving=arriving, size=sum(sizes.values()) + rest)


def remove(
    store: Layout, chosen: Iterable[tuple[Item, Collection[str]]], in_use: Callable[[], Collection[str]]
) -> list[Item]:
    """Remove items, each with some of its blobs; return those that are gone. Raises `StorageError`.

    What has blobs is first taken away, and is back where `in_use` then says that a run of another host, which no lock kept
    out, began to use one of them: such a run looks whether they are there after it noted that. A kill in between leaves
    blobs in quarantine. What a reference resolved to stays on record, so that the same version is fetched if it is wanted
    again.
    """
    gone: list[Item] = []
    away: list[tuple[Item, list[_Move]]] = []
    failed: StorageError | None = None
    for item, blobs in chosen:
        try:
            if item.blobs:
                away.append((item, _moves(item, blobs)))
                for each in away[-1][1]:
                    _take_away(store, each)
            elif _remove_unnamed(store, item):
                gone.append(item)
        except OSError as error:
            failed = store_error("a model can't be removed from the store", item.place, error)
            break
    used = in_use() if away else ()
    for item, moves in away:
        if item.blobs.isdisjoint(used):
            for each in moves:
                store.held(each.to).remove_all(each.away)
            gone.append(item)
        else:
            for each in reversed(moves):  # the bytes first, then their names
                with contextlib.suppress(OSError):  # it was gone before, or is made again
                    store.held(each.to).rename(each.away, store.held(each.folder), each.name)
    if failed is not None:
        raise failed
    return gone


@dataclass(frozen=True)
class _Move:
    """How a tree or a blob is taken away from its folder, all by names in the store."""

    folder: str
    name: str
    to: str
    away: str


def _moves(item: Item, blobs: Collection[str]) -> list[_Move]:
    """Return how an item is taken away: a tree first, and whole, for half of one would look like a folder of fewer files."""
    token, (above, name) = secrets.token_hex(8), os.path.split(item.place)
    tree = [_Move(f"{TREES}/{above}", name, PARTIAL, f"tree.{token}")] if item.kind == "model" else []
    return tree + [_Move(*os.path.split(blob_place(each)), QUARANTINE, f"{each}.{token}") for each in blobs]


def _take_away(store: Layout, move: _Move) -> None:
    to = store.folder(move.to)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        store.held(move.folder).rename(move.name, to, move.away)


def _remove_unnamed(store: Layout, item: Item) -> bool:
    """Remove a download or a damaged file; return False for a download that a run owns. Raises `OSError`."""
    above, name = os.path.split(item.place)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        if item.kind == "download":
            return remove_unowned(store, store.held(above), name)
        store.held(above).unlink(name)
    return True


def _item(kind: Literal["file", "download", "damaged"], place: str, found: os.stat_result, **more: Any) -> Item:
    return Item(kind=kind, place=place, size=found.st_size, made=int(found.st_mtime), **more)


def _owner(folder: Folder, name: str, witness: Witness) -> Literal["here", "elsewhere"] | None:
    try:
        fd = folder.open(name)
    except OSError:
        return "here"
    try:
        if not witness.lives(name, fd):
            return None
        return "here" if witness.is_here(name) else "elsewhere"
    except OSError:
        return "here"
    finally:
        os.close(fd)


def _files(store: Layout, place: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the regular files below a folder of the store: place, name and stat."""
    with contextlib.suppress(OSError):
        for path, found in store.held(place).walk():
            if not isinstance(found, str) and stat.S_ISREG(found.st_mode):
                yield f"{place}/{path}", os.path.basename(path), found


def _trees(store: Layout) -> Iterator[tuple[str, int, set[str]]]:
    """Yield the trees: key and version, when each was made, and the blobs that its links lead to, there or not."""
    for key in filter(KEY.fullmatch, _names(store, TREES)):
        for version in filter(VERSION.fullmatch, _names(store, f"{TREES}/{key}")):
            with contextlib.suppress(OSError):
                made = int(store.held(f"{TREES}/{key}").stat(version).st_mtime)
                links = store.held(f"{TREES}/{key}/{version}").walk()
                yield f"{key}/{version}", made, {os.path.basename(to) for _, to in links if isinstance(to, str)}


def _names(store: Layout, place: str) -> list[str]:
    try:
        return store.held(place).names()
    except OSError:
        return []
