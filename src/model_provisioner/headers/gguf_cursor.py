"""Read a GGUF file forward, in windows, and check every step against the size of the file."""

from __future__ import annotations

import hashlib
import os
from typing import Any, NoReturn

from model_provisioner.errors import UnsoundModelError, printable
from model_provisioner.headers.gguf_types import SCALARS, U64

WINDOW = 1 << 20
"""How many bytes are read at once."""
MAX_STRINGS = 1 << 24
MAX_SHOWN = 256


class Cursor:
    """A position in a file that moves forward. Each method moves it, or raises `UnsoundModelError`.

    `what` names, in the error, the part of the file that is read.
    """

    def __init__(self, fd: int, path: str, size: int) -> None:
        self._fd, self._path, self.size = fd, path, size
        self.offset = 0
        self._strings = 0
        self._window, self._start = b"", 0

    def fail(self, what: str, *, expected: str = "", found: str = "", fix: str = "") -> NoReturn:
        """Raise `UnsoundModelError`."""
        fix = fix or "get the file again from its source: its header is damaged"
        raise UnsoundModelError(what, where=self._path, expected=expected, found=found, fix=fix)

    def need(self, count: int, what: str) -> None:
        """Check that `count` bytes are left, without moving."""
        if count > self.size - self.offset:
            self.fail(
                f"the file ends inside {what}",
                expected=f"{count:,} bytes at offset {self.offset:,}",
                found=f"{self.size - self.offset:,} bytes to the end of the file",
                fix="get the file again from its source: it was cut off, or its header is damaged",
            )

    def skip(self, count: int, what: str) -> None:
        """Skip `count` bytes."""
        self.need(count, what)
        self.offset += count

    def take(self, count: int, what: str) -> bytes:
        """Return the next `count` bytes, which are held in memory."""
        self.need(count, what)
        at = self._reach(count)
        self.offset += count
        return self._window[at : at + count]

    def number(self, kind: int, what: str) -> Any:
        """Return the next number, of one of the types in `SCALARS`."""
        layout = SCALARS[kind]
        return layout.unpack(self.take(layout.size, what))[0]

    def count(self, what: str) -> int:
        """Return the next length or count."""
        return int(self.number(U64, what))

    def string(self, what: str, limit: int) -> bytes:
        """Return the next string, of at most `limit` bytes."""
        length = self.count(what)
        if length > limit:
            self.need(length, what)
            self.fail(f"{what} is too long", expected=f"at most {limit:,} bytes", found=f"{length:,} bytes")
        return self.take(length, what)

    def text(self, what: str) -> str:
        """Return the beginning of the next string, safe to print."""
        length = self.count(what)
        self.need(length, what)
        kept = self.take(min(length, 4 * MAX_SHOWN), what)
        self.offset += length - len(kept)
        return printable(kept.decode("utf-8", "replace"))[:MAX_SHOWN]

    def sha256(self, what: str) -> str:
        """Return the SHA-256 of the next string, in hexadecimal."""
        left = self.count(what)
        self.need(left, what)
        digest = hashlib.sha256()
        while left:
            part = self.take(min(left, WINDOW), what)
            digest.update(part)
            left -= len(part)
        return digest.hexdigest()

    def skip_strings(self, count: int, what: str) -> None:
        """Skip `count` strings. A vocabulary has some hundred thousand: most of the time to read a header is spent here."""
        self._strings += count
        if self._strings > MAX_STRINGS:
            self.fail(
                f"{what} is too long",
                expected=f"at most {MAX_STRINGS:,} strings in all arrays",
                found=f"{count:,} strings",
            )
        unpack = SCALARS[U64].unpack_from
        while count:
            self.need(8 * count, what)
            start = at = self._reach(8)
            window = self._window
            last = len(window) - 8
            while count and at <= last:
                at += 8 + unpack(window, at)[0]
                count -= 1
            self.skip(at - start, what)

    def _reach(self, count: int) -> int:
        """Return the offset of the next `count` bytes in the window; read another window if they are not in this one."""
        at = self.offset - self._start
        if at + count > len(self._window):
            wanted = max(WINDOW, count)
            self._start, at = self.offset, 0
            self._window = os.pread(self._fd, wanted, self.offset)
            if len(self._window) < min(wanted, self.size - self.offset):
                self.fail(
                    "the file became shorter while it was read",
                    expected="a file at rest",
                    found="fewer bytes than it had",
                    fix="wait until what writes it has ended, then run again",
                )
        return at
