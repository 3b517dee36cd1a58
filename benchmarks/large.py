"""One large file, read by our functions and by what limits them, warm."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from model_provisioner.artifacts.hashing import BUFFER, fingerprint, hash_both, open_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Large:
    """A file of `size` random bytes, held in the page cache."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        path = folder / "large.bin"
        with path.open("wb") as file:
            for _ in range(size // BUFFER):
                file.write(os.urandom(BUFFER))
            os.fsync(file.fileno())
        self._fd = open_model(str(path))
        self.read()

    def both(self) -> float:
        """Return the seconds of our SHA-256 and fingerprint in one pass."""
        return seconds(lambda: hash_both(self._fd, lambda _: None))

    def fingerprint(self) -> float:
        """Return the seconds of our fingerprint alone."""
        return seconds(lambda: fingerprint(self._fd, lambda _: None))

    def read(self) -> float:
        """Return the seconds of a loop of one thread that reads the file and does nothing with it."""

        def loop() -> None:
            view, offset = memoryview(bytearray(BUFFER)), 0
            while count := os.preadv(self._fd, [view], offset):
                offset += count

        return seconds(loop)

    def sha256(self) -> float:
        """Return the seconds of SHA-256 alone, over one buffer that stays in the processor's cache."""

        def loop() -> None:
            digest, buffer = hashlib.sha256(), os.urandom(BUFFER)
            for _ in range(self.size // BUFFER):
                digest.update(buffer)

        return seconds(loop)


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
