"""Clean-up: what dead runs left is removed after seven days, before a run first writes to the store."""

from __future__ import annotations

import re
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.store import lease, single_flight
from model_provisioner.store.arriving.left import remove_unowned
from model_provisioner.store.layout import IN_PARTIAL, NAMED, PARTIAL, QUARANTINE, REACH

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from model_provisioner.fs.folder import Folder
    from model_provisioner.store.layout import Layout

_OURS = {
    PARTIAL: IN_PARTIAL,
    lease.FOLDER: re.compile(rf"(?:{REACH}\.)?[0-9a-f]{{32}}"),
    single_flight.FOLDER: re.compile(r"[0-9a-f]{64}\.lock"),
    QUARANTINE: NAMED,
}
"""What the names look like that we give in each folder: what has another name is not ours, and stays."""
KEPT_S = 7 * 24 * 3600
"""For how many seconds what nobody owns is kept: half a download that somebody may resume, bytes that were wrong."""


def sweep(store: Layout) -> None:
    """Remove what nobody owns and nobody touched for seven days: downloads, drafts, locks, quarantine. Raises nothing."""
    old = [each for place in _OURS for each in _entries(store, place) if each.touched < time.time() - KEPT_S]
    # A server's clock set these times, perhaps: ours may be ahead of it.
    before = store.now() - KEPT_S if old else 0
    for each in old:
        if each.touched < before:
            with suppress(OSError):
                _remove(store, each)


@dataclass(frozen=True)
class _Entry:
    place: str
    folder: Folder
    name: str
    status: os.stat_result

    @property
    def touched(self) -> float:
        """When it was last touched, in seconds since the epoch: bytes in quarantine may be older than their move."""
        found = self.status
        return max(found.st_mtime, found.st_ctime) if self.place == QUARANTINE else found.st_mtime


def _entries(store: Layout, place: str) -> Iterator[_Entry]:
    with suppress(OSError):
        folder = store.held(place)
        for name in filter(_OURS[place].fullmatch, folder.names()):
            with suppress(FileNotFoundError):
                yield _Entry(place, folder, name, folder.stat(name))


def _remove(store: Layout, old: _Entry) -> None:
    folder, name, mode = old.folder, old.name, old.status.st_mode
    if old.place == QUARANTINE:
        if stat.S_ISREG(mode):
            folder.unlink(name)
    elif stat.S_ISREG(mode):
        if not (name.endswith(".json") and folder.has(name.removesuffix(".json"))):
            remove_unowned(store, folder, name)  # an owner elsewhere would have renewed it
    elif stat.S_ISDIR(mode) and name.startswith("tree."):
        folder.remove_all(name)
