"""Arrivals: how far the files of one model have come, which several threads bring, as one number."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_provisioner.engine.workspace import Progress, Transfer


class Arrivals:
    """Tells the progress of a run how far one model is; nothing is shown before `begin` and after `close`."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._lock = Lock()
        self._shown: Transfer | None = None
        self._sizes: dict[str, int] = {}
        """The bytes that are here, by the key of their file."""
        self._ours: set[str] = set()
        """Those that we bring, and no other run."""

    def begin(self, size: int | None, source: str) -> None:
        """Show that `size` bytes come from `source`; None where nobody knows how many."""
        with self._lock:
            self._shown = self._progress.fetching(self._name, size, source)
            self._sizes, self._ours = {}, set()

    def expect(self, key: str, size: int) -> None:
        """Take note that a file whose size nobody knew has `size` bytes."""
        with self._lock:
            if self._shown is not None:
                self._shown.expect(size + sum(count for each, count in self._sizes.items() if each != key))

    def reach(self, key: str, size: int) -> None:
        """Tell that so many bytes of a file are here by now."""
        with self._lock:
            self._ours.add(key)
            self._tell(key, size)

    def add(self, key: str, count: int) -> None:
        """Tell that so many bytes more of a file are here."""
        with self._lock:
            self._ours.add(key)
            self._tell(key, self._sizes.get(key, 0) + count)

    def follow(self, key: str, size: int) -> None:
        """Tell that another run brings a file, and has so many bytes of it by now."""
        with self._lock:
            self._tell(key, size)

    def close(self) -> None:
        """Show no more."""
        with self._lock:
            if self._shown is not None:
                self._shown.close()
                self._shown = None

    def _tell(self, key: str, size: int) -> None:
        self._sizes[key] = size
        if self._shown is not None:
            tell = self._shown.reach if self._ours else self._shown.follow
            tell(sum(self._sizes.values()))
