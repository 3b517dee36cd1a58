"""The last lines of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

SHOWN = 5
"""How many names of retired models are told."""


def summary(*, done: int, current: int, failed: int, retired: Collection[str] = (), seconds: float) -> str:
    """Return how many models were done, current, failed and retired, as a line; before it, which were retired, as one more."""
    counts = [("done", done), ("current", current), ("failed", failed), ("retired", len(retired))]
    total = sum(count for _, count in counts)
    parts = ", ".join(f"{count} {word}" for word, count in counts if count) or "nothing to do"
    return _skipped(sorted(retired)) + f"{total} model{'' if total == 1 else 's'}: {parts} ({seconds:.2f} s)\n"


def _skipped(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    one = names[0] if len(names) == 1 else "NAME"
    return (
        f"skip  {', '.join(names[:SHOWN])}{more}  retired: no handoff; `doit model-retire --undo {one}` takes it back\n"
    )
