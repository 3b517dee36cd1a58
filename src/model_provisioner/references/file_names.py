"""Which texts can be the name of a file: on any machine, and in this process."""

from __future__ import annotations

import os

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
