"""A place in a GGUF file that only moves forward: every step is checked against the file's size before it is taken."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, NoReturn

from model_provisioner.errors import UnsoundModelError, printable
from model_provisioner.headers.gguf_types import SCALARS, U64

if TYPE_CHECKING:
    import struct

WINDOW = 1 << 20
"""How many bytes are read at once."""
MAX_STRINGS = 1 << 24
MAX_SHOWN = 256


class Cursor:
    """A place in the file that moves forward; every step is checked against the file's size before it is taken."""

    def __init__(self, fd: int, path: str, size: int) -> None:
        self._fd, self.path, self.size = fd, path, size
        self.offset = 0
        self._strings = 0
        self._window, self._start = b"", 0

    def fail(self, what: str, *, expected: str = "", found: str = "", fix: str = "") -> NoReturn:
        """Raise the error of an unsound file."""
        fix = fix or "get the file again from its source: its header is damaged"
        raise UnsoundModelError(what, where=self.path, expected=expected, found=found, fix=fix)

    def need(self, count: int, what: str) -> None:
        """Check that `count` bytes are left."""
        if count > self.size - self.offset:
            self.fail(
                f"the file ends inside {what}",
                expected=f"{count:,} bytes at offset {self.offset:,}",
                found=f"{self.size - self.offset:,} bytes to the end of the file",
                fix="get the file again from its source: it was cut off, or its header is damaged",
            )

    def skip(self, count: int, what: str) -> None:
        """Go `count` bytes forward."""
        self.need(count, what)
        self.offset += count

    def take(self, count: int, what: str) -> bytes:
        """Return the next `count` bytes: a few, for they are held in memory."""
        self.need(count, what)
        at = self._reach(count)
        self.offset += count
        return self._window[at : at + count]

    def number(self, layout: struct.Struct, what: str) -> Any:
        """Return the next number."""
        return layout.unpack(self.take(layout.size, what))[0]

    def count(self, what: str) -> int:
        """Return the next length or count."""
        return int(self.number(SCALARS[U64], what))

    def string(self, what: str, limit: int) -> bytes:
        """Return the next string, of at most `limit` bytes."""
        length = self.count(what)
        if length > limit:
            self.need(length, what)
            self.fail(f"{what} is too long", expected=f"at most {limit:,} bytes", found=f"{length:,} bytes")
        return self.take(length, what)

    def text(self, what: str) -> str:
        """Return the next string as it can be shown: its beginning, made safe to print."""
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
        """Go past `count` strings. A vocabulary has some hundred thousand: this loop is what reading a header costs."""
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
        """Return where the next `count` bytes stand in the window, which is read anew only where it does not hold them."""
        at = self.offset - self._start
        if at + count > len(self._window):
            wanted = max(WINDOW, count)
            self._start, at = self.offset, 0
            self._window = os.pread(self._fd, wanted, self.offset)
            if len(self._window) < min(wanted, self.size - self.offset):
                self.fail(
                    "the file became shorter while it was read",
                    fix="wait until what writes it has ended, then run again",
                )
        return at
