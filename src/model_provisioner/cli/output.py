"""How answers are printed: JSON, counts, paths."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO


def print_json(value: object) -> int:
    """Print a JSON document; return the exit code of success."""
    print(to_json(value))
    return 0


def to_json(value: object) -> str:
    """Return a JSON document as every command prints it: indented, with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True)


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Print lines at once, on stdout or another stream."""
    stream = stream or sys.stdout
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def models(count: int) -> str:
    """Return the word for `count` models."""
    return "model" if count == 1 else "models"


def relative(path: str, folder: str | None = None) -> str:
    """Return a path as it is written in a folder, by default the working directory: relative where it lies below."""
    folder = os.getcwd() if folder is None else folder
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else path
