"""How parametrised cases are called: by words that a person can read, say and give to `-k`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Set
from enum import Enum

LONGEST = 48


def id_of(value: object, name: str) -> str:
    """Return the word for the value of a parameter called `name`."""
    words = _printable(_words(value, name))
    return words if len(words) <= LONGEST else words[: LONGEST - 2].rstrip() + ".."


def _words(value: object, name: str) -> str:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float):
        return f"{name}={value}"
    if isinstance(value, bytes | bytearray):
        text = re.sub(r"[^ -~\n\t]+", " ", value[:200].decode("latin-1")).strip()
        return text or f"{len(value)} bytes"
    if isinstance(value, str | os.PathLike):
        return str(value)[:200] or f"no {name}"
    if isinstance(value, Mapping):
        return " ".join(f"{_words(key, 'key')}={_inner(each)}" for key, each in value.items()) or f"no {name}"
    if isinstance(value, Set):
        return " ".join(sorted(_inner(each) for each in value)) or f"no {name}"
    if isinstance(value, list | tuple):
        return " ".join(_inner(each) for each in value) or f"no {name}"
    if isinstance(value, BaseException):
        return f"{type(value).__name__} {value}".strip()
    if inspect.isfunction(value) and value.__name__ == "<lambda>":
        return _body(value)
    return getattr(value, "__name__", None) or re.sub(r"\bat 0x[0-9a-f]+", "", repr(value))


def _inner(value: object) -> str:
    return str(value) if value is None or isinstance(value, bool | int | float) else _words(value, "")


def _body(function) -> str:
    """Return what a lambda does, as its line has it."""
    line = inspect.getsource(function).partition("lambda")[2]
    return line.partition(":")[2].strip().rstrip(",)")


def _printable(text: str) -> str:
    plain = "".join(
        character if " " <= character <= "~" else " " if character.isspace() else f"U+{ord(character):04X} "
        for character in text
    )
    return re.sub(r"[\s\[\]]+", " ", plain).strip() or "blank"
