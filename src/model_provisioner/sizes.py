"""Sizes as a person reads them."""

from __future__ import annotations


def human(size: int, other: int = 0) -> str:
    """Return a size in bytes in words, exact where the rounding would hide the difference to `other`."""
    rounded = _rounded(size)
    return f"{size:,} bytes" if other and rounded == _rounded(other) else rounded


def _rounded(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
