"""The `.sha256` target, which `sha256sum -c` reads. See `docs/reference/sha256-targets.md`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))


def render(files: Iterable[tuple[str, str]]) -> bytes:
    """Return the lines for `(absolute path, SHA-256 in hex)` of files, in their order."""
    return b"".join(_line(os.fsencode(path), sha256.encode()) for path, sha256 in files)


def _line(path: bytes, sha256: bytes) -> bytes:
    escaped = path
    for character, escape in _ESCAPES:
        escaped = escaped.replace(character, escape)
    # A backslash before the digest marks a name with escapes.
    return (b"" if escaped == path else b"\\") + sha256 + b"  " + escaped + b"\n"


def is_checksums(data: bytes) -> bool:
    """Tell whether these bytes are lines as `render` makes them, of whatever files."""
    import re

    return re.fullmatch(rb"(?:\\?[0-9a-f]{64} [ *][^\n]+\n)+", data) is not None
