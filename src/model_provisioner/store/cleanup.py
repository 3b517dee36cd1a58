"""Clean-up: what dead runs left is removed after seven days, before a run first writes to the store."""

from __future__ import annotations

import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.store import lease, single_flight
from model_provisioner.store.layout import PARTIAL, QUARANTINE
from model_provisioner.store.partial import remove_unowned

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from model_provisioner.fs.root import Folder
    from model_provisioner.store.layout import Layout

KEPT_S = 7 * 24 * 3600
"""For how many seconds what nobody owns is kept: half a download that somebody may resume, bytes that were wrong."""


def sweep(store: Layout) -> None:
    """Remove what nobody owns and nobody touched for seven days: downloads, drafts, locks, quarantine. Raises nothing."""
    before = time.time() - KEPT_S
    for place in (PARTIAL, lease.FOLDER, single_flight.FOLDER):
        for folder, name, found in _entries(store, place):
            if found.st_mtime < before:
                with suppress(OSError):
                    _remove(folder, name, found.st_mode)
    for folder, name, found in _entries(store, QUARANTINE):
        if max(found.st_mtime, found.st_ctime) < before:  # its bytes may be older than its move
            folder.remove_all(name)


def _entries(store: Layout, place: str) -> Iterator[tuple[Folder, str, os.stat_result]]:
    with suppress(OSError):
        folder = store.held(place)
        for name in folder.names():
            with suppress(FileNotFoundError):
                yield folder, name, folder.stat(name)


def _remove(folder: Folder, name: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        if not (name.endswith(".json") and folder.has(name.removesuffix(".json"))):
            remove_unowned(folder, name)
    elif stat.S_ISDIR(mode) and name.startswith("tree."):
        folder.remove_all(name)
