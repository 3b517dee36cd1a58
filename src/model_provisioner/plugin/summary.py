"""The last line of a run."""

from __future__ import annotations


def summary(*, done: int, current: int, failed: int, seconds: float) -> str:
    """Return how many models were done, current and failed, as a line."""
    counts = [("done", done), ("current", current), ("failed", failed)]
    total = sum(count for _, count in counts)
    parts = ", ".join(f"{count} {word}" for word, count in counts if count) or "nothing to do"
    return f"{total} model{'' if total == 1 else 's'}: {parts} ({seconds:.2f} s)\n"
