"""Clean-up: what dead runs left is removed after seven days, before a run first writes to the store."""

from __future__ import annotations

import re
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.store import lease, single_flight
from model_provisioner.store.layout import IN_PARTIAL, NAMED, PARTIAL, QUARANTINE
from model_provisioner.store.partial import remove_unowned

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from model_provisioner.fs.root import Folder
    from model_provisioner.store.layout import Layout

_OURS = {
    PARTIAL: IN_PARTIAL,
    lease.FOLDER: re.compile("[0-9a-f]{32}"),
    single_flight.FOLDER: re.compile(r"[0-9a-f]{64}\.lock"),
    QUARANTINE: NAMED,
}
"""What the names look like that we give in each folder: what has another name is not ours, and stays."""
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
        # Its bytes may be older than its move.
        if stat.S_ISREG(found.st_mode) and max(found.st_mtime, found.st_ctime) < before:
            with suppress(OSError):
                folder.unlink(name)


def _entries(store: Layout, place: str) -> Iterator[tuple[Folder, str, os.stat_result]]:
    with suppress(OSError):
        folder = store.held(place)
        for name in filter(_OURS[place].fullmatch, folder.names()):
            with suppress(FileNotFoundError):
                yield folder, name, folder.stat(name)


def _remove(folder: Folder, name: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        if not (name.endswith(".json") and folder.has(name.removesuffix(".json"))):
            remove_unowned(folder, name)
    elif stat.S_ISDIR(mode) and name.startswith("tree."):
        folder.remove_all(name)
