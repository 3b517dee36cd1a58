"""The inventory: what a store holds, in the parts that stay or are removed as one, and how one of them is removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.fs.locks import try_lock
from model_provisioner.references.digest import SHA256_HEX
from model_provisioner.store.layout import BLOBS, NAMED, PARTIAL, QUARANTINE, TREES, blob_place, store_error
from model_provisioner.store.partial import remove_unowned
from model_provisioner.store.tree import KEY, VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from model_provisioner.fs.root import Folder
    from model_provisioner.store.layout import Layout


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
    owned: bool = False
    """Whether a living run has it: of a download only."""


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


def inventory(store: Layout) -> Inventory:
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
        if match := NAMED.fullmatch(name):
            arriving[match[1]] = arriving.get(match[1], 0) + found.st_size
            items.append(_item("download", place, found, owned=_is_owned(store.held(PARTIAL), name)))
    for place, name, found in _files(store, QUARANTINE):
        if NAMED.fullmatch(name):
            items.append(_item("damaged", place, found))
    rest = sum(item.size for item in items if item.kind in {"download", "damaged"})
    return Inventory(items=tuple(items), blobs=sizes, arriving=arriving, size=sum(sizes.values()) + rest)


def remove(store: Layout, item: Item, blobs: Collection[str]) -> bool:
    """Remove an item, with these of its blobs; return False for a download that a run owns. Raises `StorageError`.

    First the names and then the bytes: a kill in between leaves blobs without a tree, which are items of their own. What
    a reference resolved to stays on record, so that the same version is fetched if it is wanted again.
    """
    above, name = os.path.split(item.place)
    try:
        if item.kind == "download":
            return remove_unowned(store.held(above), name)
        if item.kind == "damaged":
            store.held(above).unlink(name)
            return True
        partial, away = store.folder(PARTIAL), f"tree.{secrets.token_hex(8)}"
        if item.kind == "model":
            # One rename: half a tree would look like a folder of fewer files.
            with contextlib.suppress(FileNotFoundError):
                store.held(f"{TREES}/{above}").rename(name, partial, away)
        for sha256 in blobs:
            with contextlib.suppress(FileNotFoundError):
                folder, blob = os.path.split(blob_place(sha256))
                store.held(folder).unlink(blob)
        partial.remove_all(away)
    except FileNotFoundError:
        return True  # another process was faster
    except OSError as error:
        raise store_error("a model can't be removed from the store", item.place, error) from None
    return True


def _item(kind: Literal["file", "download", "damaged"], place: str, found: os.stat_result, **more: Any) -> Item:
    return Item(kind=kind, place=place, size=found.st_size, made=int(found.st_mtime), **more)


def _is_owned(folder: Folder, name: str) -> bool:
    try:
        fd = folder.open(name)
    except OSError:
        return True
    try:
        return not try_lock(fd, shared=True)
    except OSError:
        return True
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
