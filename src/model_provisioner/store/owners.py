"""Owners: who holds a file of the store, and whether the owner lives.

The name of such a file begins with the reach of its owner's lock. Where that is ours, the kernel's lock says at once
whether the owner lives. Else it is another host, or another mount of this one, whose locks we may not see: it renews
its files every 30 seconds, and is dead when one stayed as it is for 10 minutes by our own clock. Who looks once can't
see that, so the state folder keeps what was seen, and when first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.locking.locks import NoLocksError, try_lock
from model_provisioner.fs.locking.reach import LOCAL, boot_id
from model_provisioner.fs.read import read_if_there
from model_provisioner.fs.state_folder import ensure_state_folder

if TYPE_CHECKING:
    from model_provisioner.store.layout import Layout

DEAD_AFTER_S = 600
"""After how many seconds without a renewal an owner elsewhere is dead."""
UNTIL_DEAD = "which counts as dead once it has renewed nothing for 10 minutes"

_OWNED = re.compile(r"(local|[0-9a-f]{16})\.")


def reach_in(name: str) -> str:
    """Return the reach that the name of an owned file begins with; versions before relied on the lock alone."""
    return match[1] if (match := _OWNED.match(name)) else LOCAL


class Witness:
    """Tells whether the owners of files in a store live, as far as can be told from here."""

    def __init__(self, store: Layout, state: str) -> None:
        self._store, self._state = store, state
        root = os.path.realpath(store.root)
        self._path = os.path.join(state, "witness", f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:20]}.json")
        self._before = self._read()
        self._seen: dict[str, tuple[int, int, float]] = {}
        """Time and size of the files of others, and since when they are so by our clock."""

    def is_here(self, name: str) -> bool:
        """Tell whether the owner of a file has locks that we see."""
        return reach_in(name) == self._store.reach

    def lives(self, name: str, fd: int) -> bool:
        """Tell whether the owner of an open file lives, or may live. Raises `OSError`."""
        if self.is_here(name):
            try:
                return not try_lock(fd, shared=True)
            except NoLocksError:
                return True
        found, now = os.fstat(fd), _clock()
        mtime, size, since = self._before.get(name, (0, 0, now))
        if (mtime, size) != (found.st_mtime_ns, found.st_size) or since > now:
            since = now
        self._seen[name] = found.st_mtime_ns, found.st_size, since
        return now - since < DEAD_AFTER_S

    def remember(self) -> None:
        """Keep what was seen for who looks next. Where that can't be written, the others live on."""
        if self._seen or self._before:
            body = {"boot": boot_id(), "seen": self._seen}
            with contextlib.suppress(StorageError):
                ensure_state_folder(self._state)
                write_atomically(self._path, json.dumps(body, sort_keys=True).encode() + b"\n")

    def _read(self) -> dict[str, tuple[int, int, float]]:
        try:
            body = json.loads(read_if_there(self._path) or b"")
            if body["boot"] != boot_id():  # the clock began anew
                return {}
            return {str(name): (int(at), int(size), float(since)) for name, (at, size, since) in body["seen"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}


def _clock() -> float:
    """Return the seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
