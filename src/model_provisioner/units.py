"""Sizes and ages as people read and write them: `105.2 KB`, `1.5 GiB`, `30d`."""

from __future__ import annotations

import re
from typing import Any

SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$"
SIZES = "a whole number of bytes, or a text as 200GB or 1.5 GiB"
AGES = "a whole number and s, m, h, d or w, as 30d"

_PREFIXES = " KMGT"
_UNITS = ("bytes", "KB", "MB", "GB", "TB")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(value: Any) -> int | None:
    """Return a size in bytes: KB, MB, … are powers of 1000, KiB, MiB, … of 1024. None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if not isinstance(value, str) or re.match(SIZE_PATTERN, value, re.ASCII) is None or value.endswith("\n"):
        return None
    number, _, unit = re.sub(r" ?([KMGT]?i?B)", r" \1", value).partition(" ")
    base = 1024 if "i" in unit else 1000
    power = _PREFIXES.index(unit[0]) if len(unit) > 1 else 0
    whole, _, rest = number.partition(".")
    exact: int = int(whole + rest) * base**power // 10 ** len(rest)  # as a float would not be
    return exact


def parse_age(text: str) -> int | None:
    """Return an age in seconds; None for anything else."""
    if (match := re.fullmatch(r"([0-9]+)([smhdw])", text, re.ASCII)) is None:
        return None
    return int(match[1]) * _SECONDS[match[2]]


def human(size: int, other: int = 0) -> str:
    """Return a size in words: rounded, or exact if rounding would hide the difference to `other`."""
    rounded = _rounded(size)
    return f"{size:,} bytes" if other and rounded == _rounded(other) else rounded


def human_of(part: int, size: int) -> str:
    """Return how much a part of a size is, in the unit of the size: `3.1 of 9.8 GB`."""
    power = next((power for power in range(len(_UNITS) - 1) if size < 1000 ** (power + 1)), len(_UNITS) - 1)
    scale, digits = 1000**power, 1 if power else 0
    return f"{part / scale:.{digits}f} of {size / scale:.{digits}f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Return a time in words: `13 s`, `4 min`, `2 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _rounded(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"
