"""The short way of a run: compare the project with the snapshot of its last run, and do only what is left.

The snapshot is a claim about all that `engine/up_to_date.py` asks: the files, the artifacts, the catalog, the
configuration, this program. So it is written only of entries that were found current, or were just done, and it is void as
soon as anything moved that it does not list by entry. This module is on the way of every no-op: it imports next to nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys

from model_provisioner.errors import StorageError
from model_provisioner.fs.read import JSON_LIMIT, read_file
from model_provisioner.fs.state_folder import project_folder, state_folder
from model_provisioner.records.stat_snapshot import columns_of, same_entries
from model_provisioner.settings import is_on
from model_provisioner.version import __version__

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.records.stat_snapshot import Columns

NAME = "snapshot"
LOCK_NAME = "models.lock"
SQLITE_PAGE = 4096
SNAPSHOT_LIMIT = 256 << 20


class Shortcut:
    """What the snapshot says of a project's entries."""

    __slots__ = ("doit", "key", "left", "lock", "retired", "same", "snapshot", "source", "state")

    def __init__(self, source: bytes, lock: bytes | None, state: str, key: str) -> None:
        self.source, self.lock = source, lock
        """What models.yaml and models.lock held."""
        self.state = state
        """The state folder."""
        self.key = key
        """Of the snapshot: see `key_of`."""
        self.same: list[str] = []
        """Current: nothing that they depend on moved."""
        self.retired: list[str] = []
        """Retired, and nothing was put in the place of their handoffs."""
        self.left = 0
        """How many others there are."""
        self.doit = ""
        """How doit's own state looked: see `doit_state`."""
        self.snapshot: Columns | None = None
        """All that the snapshot says."""


def look(config_path: str) -> Shortcut | None:
    """Compare the project of a configuration with its snapshot; None where there is none that says anything.

    Raises `SettingError` for a switch that can't be understood, also where it would not count.
    """
    is_on("MODEL_PROVISIONER_OFFLINE")
    root = os.path.dirname(config_path)
    try:
        state = state_folder(root)
        data = read_file(os.path.join(project_folder(state, root), NAME), SNAPSHOT_LIMIT, flags=os.O_NOFOLLOW)
        source, lock = read_file(config_path), _lock(root)
    except (OSError, StorageError):
        return None  # the long way tells
    found = Shortcut(source, lock, state, key_of(config_path, state, source, lock))
    snapshot = columns_of(data)
    if snapshot is None or snapshot.key != found.key:
        return None
    if snapshot.catalog_file != (catalog_file(state) or "none") and snapshot.catalog != catalog_change(state, root):
        return None
    same = same_entries(snapshot)
    if same is None:
        return None
    there = set(same) if snapshot.retired else set()
    found.retired = [name for name in snapshot.retired if name in there]
    found.same = list(there.difference(found.retired)) if found.retired else same
    found.left = snapshot.left + len(snapshot.names) - len(same)
    found.doit, found.snapshot = snapshot.doit, snapshot
    return found


def key_of(
    config_path: str, state: str, source: bytes, lock: bytes | None, environ: Mapping[str, str] = os.environ
) -> str:
    """Return a key of what decides what is to be done, except the files of the entries, the catalog and doit's state.

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
        environ.get("MODEL_PROVISIONER_MIRRORS", ""),  # and with this
        environ.get("HF_ENDPOINT", ""),  # whose URLs are read as hf:
        hashlib.sha256(source).hexdigest(),
        "" if lock is None else hashlib.sha256(lock).hexdigest(),
        f"{build} {_identity(build)}",
        f"memo {_memo(state)}",
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


def catalog_file(state: str) -> str:
    """Return how the catalog's file looks, empty where it has a log beside it: the same file holds the same rows.

    It is that of all projects: where it moved, `catalog_change` tells whether it did for this one.
    """
    path = os.path.join(state, "catalog.db")
    return f"{_identity(path)}" if _identity(f"{path}-wal") is None else ""


def catalog_change(state: str, root: str) -> str:
    """Return the change number of the project's rows in the catalog, empty where it can't be read."""
    from model_provisioner.records.catalog.database import change_of

    try:
        return str(change_of(os.path.realpath(root), state))
    except StorageError:
        return ""
