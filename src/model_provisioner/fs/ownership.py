"""Whose a file is: the user's own or root's, or another user's. On the way of every no-op, so it imports little."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = 0


def other_owner(path: str, environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of the user who owns what is at a path, or what a link there leads to, and is another one.

    None where it is the user's or root's, where root's `sudo` was called by its owner, or where nothing is.
    """
    trusted = {ROOT, os.geteuid()}
    if os.geteuid() == ROOT and (caller := environ.get("SUDO_UID", "")).isdecimal():
        trusted.add(int(caller))
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode) and found.st_uid in trusted:
            found = os.stat(path)
    except OSError:
        return None  # whoever opens it says why that can't be done
    return None if found.st_uid in trusted else found.st_uid


def user(number: int) -> str:
    """Return what a user is called: the name, where there is one, and the number."""
    login = login_of(number)
    return f"uid {number}" if login == str(number) else f"{login} (uid {number})"


def login_of(number: int) -> str:
    """Return the name of a user, or the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
