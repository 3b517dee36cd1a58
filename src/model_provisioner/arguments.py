"""Arguments: a value of a wrong type is told at once, by the name that the caller knows it by."""

from __future__ import annotations

import os


def check_type(name: str, value: object, kinds: type | tuple[type, ...], words: str) -> None:
    """Raise `TypeError` unless a value is of one of the `kinds`, which are called so in words."""
    if not isinstance(value, kinds):
        raise _wrong(name, value, words)


def path_text(name: str, value: object, words: str = "a string or a path") -> str:
    """Return a path as text. Raises `TypeError`, for a path of bytes too."""
    check_type(name, value, (str, os.PathLike), words)
    text = os.fspath(value)  # type: ignore[call-overload]  # it was just checked
    check_type(name, text, str, words)
    return str(text)


def texts(name: str, value: object, words: str) -> tuple[str, ...]:
    """Return several texts. Raises `TypeError`, for one alone too: its characters would be taken for them."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} must be {words}, not one string: put it into a list")
    try:
        found: tuple[str, ...] = tuple(value)  # type: ignore[arg-type]  # it is being checked
    except TypeError:
        raise _wrong(name, value, words) from None
    for each in found:
        check_type(f"each of {name}", each, str, "a string")
    return found


def _wrong(name: str, value: object, words: str) -> TypeError:
    return TypeError(f"{name} must be {words}, not {type(value).__name__}")
