"""Settings: what the environment says to this program, and how it is refused where it can't be understood.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import os

from model_provisioner.errors import SettingError

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = {"1", "ON", "YES", "TRUE"}
_FALSE = {"", "0", "OFF", "NO", "FALSE"}


def is_true(value: str) -> bool:
    """Read a variable of another program as huggingface_hub reads its own: what is not true is false."""
    return value.upper() in _TRUE


def is_on(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a switch of ours is on. Raises `SettingError` for a value that says neither: nobody is to guess."""
    value = environ.get(name, "").strip()
    if value.upper() not in _TRUE | _FALSE:
        raise SettingError(
            f"{name} is neither on nor off",
            where="the environment",
            expected="1, on, yes or true; or 0, off, no or false",
            found=value[:80],
            fix=f"export {name}=1, or take it out of the environment",
        )
    return is_true(value)


def folder(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of a folder that a variable of ours names, as written. Raises `SettingError` for the home of nobody."""
    path = environ.get(name) or None
    if path is not None and os.path.expanduser(path).startswith("~"):
        raise SettingError(
            f"{name} names the home folder of no user",
            where="the environment",
            expected="a path; ~/… for your own home, ~USER/… for a user of this machine",
            found=path[:200],
            fix=f"correct {name}; if that is the name of a folder here, write ./ before it",
        )
    return path
