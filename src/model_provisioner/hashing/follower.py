"""Hash a file while it is written, in a thread beside the writer, so that it need not be read again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from model_provisioner.hashing.fingerprint import Fingerprint
from model_provisioner.hashing.streaming import BUFFER

if TYPE_CHECKING:
    from model_provisioner.hashing.fingerprint import FingerprintKey

BACKLOG = 4 << 20
"""How many bytes the writer may be ahead before it waits."""


class Follower:
    """The digests of a file of `size` bytes and of what is appended to it.

    SHA-256; given a `key`, the fingerprint; given `git_size`, git's blob id.

    The bytes that are there already are read from the file. The writer doesn't wait for that: the server of a resumed
    transfer would give up while tens of gigabytes are read.
    """

    def __init__(self, fd: int, size: int, git_size: int | None, key: FingerprintKey | None = None) -> None:
        self._fd = fd
        self._sha = hashlib.sha256()
        self._xxh3 = None if key is None else Fingerprint(key)
        # git hashes the size before the bytes, so it must be known at the start.
        self._git = None if git_size is None else hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)
        self.written = size
        """The size of the file."""
        self._hashed = 0
        self._chunks: deque[bytes] = deque()
        """The bytes from `_hashed` to `written`, unless the thread is behind."""
        self._behind = size > 0
        self._error: BaseException | None = None
        self._closed = False
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, chunk: bytes) -> None:
        """Hash bytes that were just appended to the file. Raises the error that ended the thread."""
        with self._turn:
            self._start()
            while not (self._behind or self._error) and self.written - self._hashed > BACKLOG:
                self._turn.wait()
            self._check()
            self.written += len(chunk)
            if not self._behind:
                self._chunks.append(chunk)
            self._turn.notify_all()

    def finish(self) -> tuple[str, str | None, str | None]:
        """Wait for the last byte; return SHA-256 in hexadecimal, the fingerprint, and git's blob id in hexadecimal."""
        with self._turn:
            self._start()
            while not self._error and self._hashed < self.written:
                self._turn.wait()
            self._check()
        git = None if self._git is None else self._git.hexdigest()
        xxh3 = None if self._xxh3 is None else self._xxh3.text()
        return self._sha.hexdigest(), xxh3, git

    def close(self) -> None:
        """End the thread, before the file is closed or truncated under it."""
        with self._turn:
            self._closed = True
            self._chunks.clear()
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _follow(self) -> None:
        view = memoryview(bytearray(BUFFER if self._behind else 0))
        try:
            while (chunk := self._next(view)) is not None:
                self._sha.update(chunk)
                if self._xxh3 is not None:
                    self._xxh3.update(memoryview(chunk))
                if self._git is not None:
                    self._git.update(chunk)
                with self._turn:
                    self._hashed += len(chunk)
                    if self._hashed == self.written:
                        self._behind = False
                    self._turn.notify_all()
        except BaseException as error:  # noqa: BLE001  raised again in the thread that writes
            with self._turn:
                self._error = error
                self._turn.notify_all()

    def _next(self, view: memoryview) -> bytes | memoryview | None:
        with self._turn:
            while not self._closed and self._hashed == self.written:
                self._turn.wait()
            if self._closed:
                return None
            if not self._behind:
                return self._chunks.popleft()
            view = view[: self.written - self._hashed]
        count = os.preadv(self._fd, [view], self._hashed)
        if not count:
            raise OSError("the file became shorter while it was read")
        return view[:count]
