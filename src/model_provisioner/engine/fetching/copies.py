"""Copies of wanted bytes that other programs have on this disk: taken into the store, if their digest is right."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.engine.events import fetching
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.store.import_existing import adopt, find

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.engine.events import FetchProgress
    from model_provisioner.engine.workspace import Workspace


@dataclass
class Copies:
    """Looks for copies of the files of one entry, and reads each of them once."""

    work: Workspace
    name: str
    """Of the entry."""
    make_room: Callable[[dict[str, int]], None]
    release_room: Callable[[Sequence[str]], None]
    tried: set[tuple[str, str]] = field(default_factory=set)
    """SHA-256 and path of those that were read."""

    def take(self, sha256: str, size: int | None, name: str, progress: FetchProgress | None = None) -> str | None:
        """Take a copy of a file into the store; return where it was found, in words, None where there is none.

        `size` in bytes and the file's own `name` are what it is looked for by where a program does not name files by their
        digest. `progress` is that of a fetch which this would end. Raises `FetchError` and `StorageError`.
        """
        for found in find(sha256, size, name):
            if (sha256, found.path) in self.tried:
                continue
            self.tried.add((sha256, found.path))
            if (stat := stat_or_none(found.path)) is None:
                continue  # its owner removed it
            key, there = f"adopt {sha256}", stat.st_size
            self.make_room({key: there})
            own = fetching(self.work.progress, self.name, there, found.source)
            with own if progress is None else nullcontext(progress) as told:
                read = partial(told.add, key)
                taken = adopt(self.work.store, found, sha256, read, fingerprints=self.work.memo.fingerprints)
                told.reach(key, there if taken else 0)
            self.release_room([key])
            if taken:
                return f"taken from {found.source}"
        return None
