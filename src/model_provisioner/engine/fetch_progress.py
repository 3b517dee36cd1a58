"""Fetch progress: how far the files of one model have come, which several threads fetch, as one number."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from model_provisioner.engine.events import FetchBegins, FetchEnded, FetchReached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.events import Progress


@contextmanager
def fetching(progress: Progress, model: str, size: int | None, source: str) -> Iterator[FetchProgress]:
    """Tell `progress` that `size` bytes of a model come from `source` while the block runs; None where nobody knows."""
    progress(FetchBegins(model, size, source))
    try:
        yield FetchProgress(progress, model, size)
    finally:
        progress(FetchEnded(model))


class FetchProgress:
    """Adds up the bytes of the files of one model. Each is named by the key of its download."""

    def __init__(self, progress: Progress, model: str, size: int | None) -> None:
        self._progress, self._model, self._size = progress, model, size
        self._lock = Lock()
        self._done: dict[str, int] = {}
        self._ours: set[str] = set()
        """The files that this run fetches, and no other."""

    def expect(self, key: str, size: int) -> None:
        """Note that a file whose size the source did not list has `size` bytes."""
        with self._lock:
            self._size = size + sum(done for each, done in self._done.items() if each != key)

    def reach(self, key: str, done: int, *, by_another_run: bool = False) -> None:
        """Tell that `done` bytes of a file are here."""
        with self._lock:
            self._done[key] = done
            if not by_another_run:
                self._ours.add(key)
            self._progress(FetchReached(self._model, sum(self._done.values()), self._size, not self._ours))

    def add(self, key: str, count: int) -> None:
        """Tell that `count` more bytes of a file are here."""
        self.reach(key, self._done.get(key, 0) + count)
