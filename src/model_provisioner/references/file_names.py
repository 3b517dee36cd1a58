"""Which texts can be the name of a file: at a source, on any machine, and in this process."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.shown import shown

NO_KEY = re.compile(r"^\Z|\0|[\ud800-\udfff]|(?:^|/)\.\.?(?:/|\Z)")
"""Finds what makes a text no path of a file at a source: it can't be written as UTF-8, or would lead elsewhere as a
local path."""
UTF8_FIX = "run it with PYTHONUTF8=1, or in a UTF-8 locale: LC_ALL=C.UTF-8"
"""What gives a process all names of files, where its locale has bytes for some of them only."""


def is_file_name(path: str) -> bool:
    """Tell whether a file can have this name or path: it is not empty, without NUL, and the system can encode it."""
    try:
        return bool(path) and "\0" not in path and (path.isascii() or bool(os.fsencode(path)))
    except UnicodeEncodeError:
        return False


def is_beyond_locale(path: str) -> bool:
    """Tell whether a file can have this name, only not in this process, whose encoding lacks a character of it."""
    try:
        return "\0" not in path and bool(path.encode()) and not is_file_name(path)
    except UnicodeEncodeError:
        return False


def path_of_file_url(rest: str) -> str:
    """Return the path of a `file:` URL, given what follows the colon: the one place where percents are decoded."""
    host, slash, path = rest[2:].partition("/")
    if host.lower() not in {"", "localhost"}:
        raise InvalidReferenceError(
            "a file: URL of another machine",
            expected="file:///PATH or file:PATH",
            found=shown(f"file:{rest}"),
            fix="three slashes start an absolute path; a relative one is written file:PATH",
        )
    try:
        return os.fsdecode(unquote_to_bytes(os.fsencode(slash + path)))
    except UnicodeEncodeError:
        return slash + path  # which LocalRef refuses
