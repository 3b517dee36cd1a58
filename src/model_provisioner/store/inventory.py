"""The stock: what a store holds, in the parts that go or stay as one, and how one of them goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from model_provisioner.fs.atomic import storage_error
from model_provisioner.store import partial
from model_provisioner.store.partial import SETTING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from model_provisioner.store.store import Store

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"([0-9a-f]{64})\.[0-9a-f]+")
"""A file on its way, or in quarantine."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A part of the stock that goes or stays as one."""

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
class Stock:
    """What a store holds."""

    items: tuple[Item, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Bytes, by SHA-256."""
    arriving: Mapping[str, int] = field(default_factory=dict)
    """Bytes that are on their way, by the stem of their files, whoever owns them."""
    size: int = 0
    """Bytes of all files; the links of trees, records and locks are not counted."""


def stock(store: Store) -> Stock:
    """Look at what a store holds; what can't be looked at is not in it. Nothing is read or raised."""
    blobs = {name: found for _, name, found in _files(store, "blobs", "sha256") if _SHA256.fullmatch(name)}
    items, in_trees = [], set()
    for tree, made, names in _trees(store):
        there = names & blobs.keys()
        in_trees |= there
        size = sum(blobs[each].st_size for each in there)
        items.append(Item(kind="model", place=tree, size=size, made=made, blobs=frozenset(there)))
    for place, name, found in _files(store, "blobs", "sha256"):
        if name in blobs and name not in in_trees:
            made = int(found.st_mtime)
            items.append(Item(kind="file", place=place, size=found.st_size, made=made, blobs=frozenset({name})))
    arriving: dict[str, int] = {}
    for place, name, found in _files(store, partial.FOLDER):
        if match := _NAMED.fullmatch(name):
            arriving[match[1]] = arriving.get(match[1], 0) + found.st_size
            made, owned = int(found.st_mtime), _is_owned(os.path.join(store.root, place))
            items.append(Item(kind="download", place=place, size=found.st_size, made=made, owned=owned))
    for place, name, found in _files(store, "quarantine"):
        if _NAMED.fullmatch(name):
            items.append(Item(kind="damaged", place=place, size=found.st_size, made=int(found.st_mtime)))
    sizes = {name: found.st_size for name, found in blobs.items()}
    rest = sum(item.size for item in items if not item.blobs and item.kind != "model")
    return Stock(items=tuple(items), blobs=sizes, arriving=arriving, size=sum(sizes.values()) + rest)


def remove(store: Store, item: Item, blobs: Collection[str]) -> bool:
    """Let an item go, with these of its blobs; return False for a download that somebody owns. Raises `StorageError`.

    First the names and then the bytes: a kill in between leaves blobs without a tree, which are items of their own. What
    a reference stood for stays on record, so that the same version is fetched if it is wanted again.
    """
    try:
        if item.kind == "download":
            return _remove_unowned(os.path.join(store.root, item.place))
        if item.kind == "damaged":
            os.unlink(os.path.join(store.root, item.place))
            return True
        away = ""
        if item.kind == "model":
            # One rename: half a tree would look like a folder of fewer files.
            away = os.path.join(store.folder(partial.FOLDER), f"tree.{secrets.token_hex(8)}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(store.root, "trees", item.place), away)
        for sha256 in blobs:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(store.blob_path(sha256))
        if away:
            shutil.rmtree(away, ignore_errors=True)
    except FileNotFoundError:
        return True  # somebody else was faster
    except OSError as error:
        raise storage_error("a model can't be removed from the store", item.place, error, elsewhere=SETTING) from None
    return True


def _is_owned(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _remove_unowned(path: str) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.json")
    return True


def _files(store: Store, *names: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the files below a folder of the store: place, name and how they look."""
    for folder, _, files in os.walk(os.path.join(store.root, *names)):
        for name in files:
            with contextlib.suppress(OSError):
                path = os.path.join(folder, name)
                found = os.lstat(path)
                if stat.S_ISREG(found.st_mode):
                    yield os.path.relpath(path, store.root), name, found


def _trees(store: Store) -> Iterator[tuple[str, int, set[str]]]:
    """Yield the trees: key and version, when each was made, and the blobs that its links lead to, there or not."""
    top = os.path.join(store.root, "trees")
    for key in _names(top):
        for version in _names(os.path.join(top, key)):
            root = os.path.join(top, key, version)
            found = set()
            with contextlib.suppress(OSError):
                for folder, _, files in os.walk(root):
                    for name in files:
                        with contextlib.suppress(OSError):
                            found.add(os.path.basename(os.readlink(os.path.join(folder, name))))
                yield f"{key}/{version}", int(os.stat(root).st_mtime), found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
