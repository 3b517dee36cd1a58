"""The columns of a terminal: how many there are, how many a text takes, and texts that are made to fit."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import TextIO


def width_of(stream: TextIO) -> int | None:
    """Return how many columns a line on a stream may have; None where it goes to no terminal, and may have any number.

    A terminal that does not know its width, as those of some containers, has 80.
    """
    if not stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    try:
        return int(asked) if asked.isdecimal() and int(asked) else os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def columns(text: str) -> int:
    """Return how many columns a text takes: a wide character two, a combining one none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def cut(text: str, width: int) -> str:
    """Return as much of the beginning of a text as `width` columns hold."""
    while columns(text) > width:
        text = text[: width - columns(text)]
    return text


def shortened(text: str, width: int) -> str:
    """Return a text of at most `width` columns, without its middle where it is too long: both ends of a name tell it."""
    width = max(width, 8)
    if columns(text) <= width:
        return text
    left = cut(text, width // 2)
    right = cut(text[::-1], width - 1 - columns(left))[::-1]
    return f"{left}…{right}"


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text with blanks up to `width` columns, before it where it belongs to the right."""
    blanks = " " * (width - columns(text))
    return f"{blanks}{text}" if right else f"{text}{blanks}"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str], least: Mapping[str, int]
) -> list[str]:
    """Return rows below their head, as wide as the terminal; whole where standard output is none.

    Columns of `right` are flush right. Where the lines would be too long, those of `least` lose the middle of their texts, one
    after the other in its order, and keep so many columns.
    """
    lines = [head, *rows]
    widths = [max(map(columns, column)) for column in zip(*lines, strict=True)]
    if (most := width_of(sys.stdout)) is not None:
        gaps = 2 * (len(head) - 1)
        for at, fewest in ((head.index(name), fewest) for name, fewest in least.items() if name in head):
            widths[at] = max(min(fewest, widths[at]), widths[at] - max(0, sum(widths) + gaps - most))
    return [
        "  ".join(
            padded(shortened(cell, width) if name in least else cell, width, right=name in right)
            for cell, width, name in zip(line, widths, head, strict=True)
        ).rstrip()
        for line in lines
    ]
