"""Who used what of a store, and when: one record for each project, in the store itself, so that other machines see it too.

The record's time of modification is when the project was last used with all that it names: see `store/last_use.py`. The
format stands in `docs/reference/store.md`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.read import JSON_LIMIT
from model_provisioner.fs.state_folder import ensure_state_id, state_id
from model_provisioner.json_text import parse_json
from model_provisioner.store.last_use import FOLDER, link_of, touch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from model_provisioner.store.layout import Layout


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """The usage record of one configuration of one owner."""

    owner: str
    """The machine and the state folder, whose projects can be inspected from there."""
    config: str
    handoffs: tuple[str, ...]
    trees: Mapping[str, int | None]
    """Trees of the store (`<key>/<version>`), and when the project last used them, in seconds since the epoch: None for
    those that it has now."""
    time: int
    """When the project was last used, in seconds since the epoch."""

    def last(self, tree: str) -> int:
        """Return when the project last used a tree; 0 for never."""
        if tree not in self.trees:
            return 0
        found = self.trees[tree]
        return self.time if found is None else found


def owner_of(state: str) -> str:
    """Return who keeps the state folder `state`, as no other machine or container says it.

    Containers of one image may have name, path and inode alike: the folder has a random number of its own.
    """
    try:
        number = os.stat(state).st_ino
    except OSError:
        number = 0
    return f"{os.uname().nodename} {os.path.realpath(state)} {number} {state_id(state)}"


def has_record(state: str, config: str) -> bool:
    """Tell whether a configuration ever used anything of a store."""
    return os.path.islink(link_of(state, config))


def note(store: Layout, state: str, config: str, trees: Iterable[str], handoffs: Iterable[str]) -> None:
    """Note that a project is used now, and what it uses: what it used before keeps the time of its last use.

    Raises `StorageError`.
    """
    from model_provisioner.fs.folder import PrivateFolder
    from model_provisioner.fs.root import Roots

    ensure_state_id(state)
    owner = owner_of(state)
    name = hashlib.sha256(os.fsencode(f"{owner}\0{config}")).hexdigest() + ".json"
    last = None
    with contextlib.suppress(OSError):
        last = _read(store, name)
    now: dict[str, int | None] = dict.fromkeys(sorted(trees))
    before = {} if last is None else {tree: last.last(tree) for tree in last.trees if tree not in now}
    kept = {tree: time for tree, time in before.items() if os.path.isdir(os.path.join(store.root, "trees", tree))}
    wanted = now | kept
    handoffs = tuple(sorted(handoffs))
    if last is not None and (dict(last.trees), last.handoffs) == (wanted, handoffs) and touch(state, config):
        return
    body = {"config": config, "handoffs": handoffs, "owner": owner, "trees": wanted}
    store.write(FOLDER, name, json.dumps(body, sort_keys=True, indent=1).encode() + b"\n")
    path, (above, link) = os.path.join(store.root, FOLDER, name), os.path.split(link_of(state, config))
    with contextlib.suppress(OSError), Roots(state, kind=PrivateFolder) as roots:
        folder = roots.make(above)
        if os.path.realpath(folder.path_of(link)) != os.path.realpath(path):
            with contextlib.suppress(FileNotFoundError):
                folder.unlink(link)
            folder.symlink(path, link)


def usage_records(store: Layout) -> list[UsageRecord]:
    """Return the records of a store; what is none is left out. Raises `StorageError` where one can't be read."""
    path, found = os.path.join(store.root, FOLDER), []
    try:
        for name in store.held(FOLDER).names():
            path = os.path.join(store.root, FOLDER, name)
            if (use := _read(store, name)) is not None:
                found.append(use)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        from model_provisioner.store.layout import store_error

        raise store_error("a usage record can't be read", path, error) from None
    return found


def _read(store: Layout, name: str) -> UsageRecord | None:
    """Return a record, None for what is none or is not there. Raises `OSError` where it can't be read."""
    try:
        folder = store.held(FOLDER)
        found = folder.stat(name)
        time = int(found.st_mtime)
        if (data := folder.read(name, JSON_LIMIT)) is None and stat.S_ISREG(found.st_mode) and folder.has(name):
            raise PermissionError(errno.EACCES, "it can't be read")
        body = parse_json(data or b"")
        trees = {str(tree): None if found is None else int(found) for tree, found in body["trees"].items()}
        return UsageRecord(
            owner=str(body["owner"]),
            config=str(body["config"]),
            handoffs=tuple(map(str, body["handoffs"])),
            trees=trees,
            time=time,
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, AttributeError):
        return None
