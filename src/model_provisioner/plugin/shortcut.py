"""The short way of `doit provision`: compare the project with the snapshot of its last run, and do only what is left.

The snapshot is a claim about all that `engine/up_to_date.py` asks: the files, the artifacts, the catalog, the
configuration, this program. So it is written only of entries that were found current, or were just done, and it is void as
soon as anything moved that it does not list by entry. This module is on the way of every no-op: it imports little.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.read import JSON_LIMIT, read_file
from model_provisioner.fs.state_folder import project_folder, state_folder
from model_provisioner.records.snapshot import compare
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "snapshot"
LOCK_NAME = "models.lock"
SQLITE_PAGE = 4096
SNAPSHOT_LIMIT = 256 << 20


@dataclass(frozen=True)
class Shortcut:
    """What the snapshot says of a project's entries."""

    source: bytes
    """What models.yaml held."""
    lock: bytes | None
    """What models.lock held."""
    key: str
    """Of the snapshot: see `key_of`."""
    same: list[str]
    """Current: nothing that they depend on moved."""
    left: int
    """How many others there are."""
    doit: str
    """How doit's own state looked: see `doit_state`."""
    retired: list[str]
    """Retired, and nothing was put in the place of their handoffs."""


def look(config_path: str) -> Shortcut | None:
    """Compare the project of a configuration with its snapshot; None where there is none that says anything."""
    root = os.path.dirname(config_path)
    try:
        state = state_folder(root)
        data = read_file(os.path.join(project_folder(state, root), NAME), SNAPSHOT_LIMIT, flags=os.O_NOFOLLOW)
        source, lock = read_file(config_path), _lock(root)
    except (OSError, StorageError):
        return None  # the long way tells
    key = key_of(config_path, state, source, lock)
    found = compare(data, key)
    if found is None:
        return None
    same, left, doit, retired = found
    if retired:
        there = set(same)
        retired = [name for name in retired if name in there]
        same = list(there.difference(retired))
    return Shortcut(source, lock, key, same, left, doit, retired)


def key_of(
    config_path: str, state: str, source: bytes, lock: bytes | None, environ: Mapping[str, str] = os.environ
) -> str:
    """Return a key of all that decides what is to be done, except the files of the entries and doit's state.

    `source` and `lock` are what models.yaml and models.lock hold.
    """
    root = os.path.dirname(config_path)
    build = os.path.join(project_folder(state, root), "build.db")
    parts = [
        __version__,
        sys.getfilesystemencoding(),  # in another, a name may mean another file or none
        config_path,
        environ.get("HOME", ""),
        environ.get("MODEL_PROVISIONER_CACHE_DIR", ""),
        environ.get("MODEL_PROVISIONER_RUNTIME_DIR", ""),
        environ.get("MODEL_PROVISIONER_NETWORK", ""),  # the long way tells what is wrong with it
        hashlib.sha256(source).hexdigest(),
        "" if lock is None else hashlib.sha256(lock).hexdigest(),
        f"{build} {_identity(build)}",
        f"memo {_memo(state)}",
        f"catalog {_catalog_change(state, root)}",
    ]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _lock(root: str) -> bytes | None:
    try:
        return read_file(os.path.join(root, LOCK_NAME), JSON_LIMIT)
    except FileNotFoundError:
        return None


def doit_state(config_path: str, dep_file: str | None) -> str:
    """Return a key of the file in which doit keeps its state, whatever its backend makes of that name.

    `doit forget` moves it, and so does a run: then doit has to be asked.
    """
    path = os.path.join(os.path.dirname(config_path), dep_file or "")
    parts = [f"{path}{suffix} {_identity(path + suffix)}" for suffix in ("", "-wal", ".db", ".dat", ".dir", ".pag")]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _memo(state: str) -> tuple[int, int] | None:
    """Return which memo there is: it moves with every model of every project, but a new one knows nothing of this."""
    try:
        found = os.stat(os.path.join(state, "memo.db"))
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size >= SQLITE_PAGE else None


def _catalog_change(state: str, root: str) -> int | None:
    from model_provisioner.records.catalog_file import change_of

    try:
        return change_of(os.path.realpath(root), state)
    except StorageError:
        return None
