"""Arguments: a value of a wrong type is told at once, by the name that the caller knows it by."""

from __future__ import annotations

import os
from collections.abc import Iterable


def check_type(name: str, value: object, kinds: type | tuple[type, ...], words: str) -> None:
    """Raise `TypeError` unless a value is of one of the `kinds`, which are called so in words."""
    if not isinstance(value, kinds):
        raise _wrong(name, value, words)


def path_text(name: str, value: object, words: str = "a string or a path") -> str:
    """Return a path as text. Raises `TypeError`, for a path of bytes too."""
    if not isinstance(value, str | os.PathLike):
        raise _wrong(name, value, words)
    text: object = os.fspath(value)
    check_type(name, text, str, words)
    return str(text)


def texts(name: str, value: object, words: str) -> tuple[str, ...]:
    """Return several texts. Raises `TypeError`, for one alone too: its characters would be taken for them."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} must be {words}, not one string: put it into a list")
    if not isinstance(value, Iterable):
        raise _wrong(name, value, words)
    found: tuple[str, ...] = tuple(value)
    for each in found:
        check_type(f"each of {name}", each, str, "a string")
    return found


def _wrong(name: str, value: object, words: str) -> TypeError:
    return TypeError(f"{name} must be {words}, not {type(value).__name__}")
