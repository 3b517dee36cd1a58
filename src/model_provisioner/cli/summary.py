"""The last line of a run: what became of how many models. Every no-op imports this module, so it imports nothing."""

from __future__ import annotations

from model_provisioner.invocation import command

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Collection

RETIRED_SHOWN = 5
"""How many retired models the summary of a run names."""


def models(count: int) -> str:
    """Return the word for `count` models."""
    return "model" if count == 1 else "models"


def summary(
    *,
    done: int,
    current: int,
    failed: int,
    withdrawn: int = 0,
    ignored: int = 0,
    retired: Collection[str] = (),
    seconds: float,
) -> str:
    """Return a line that says what became of how many models; before it, where there are any, which are retired."""
    counts = (
        (done, "done"),
        (current, "current"),
        (failed, "failed"),
        (withdrawn, "withdrawn"),
        (ignored, "ignored"),
        (len(retired), "retired"),
    )
    total = sum(count for count, _ in counts)
    parts = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to do"
    return f"{_skipped(sorted(retired))}{total} {models(total)}: {parts} ({seconds:.2f} s)\n"


def _skipped(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - RETIRED_SHOWN} more" if len(names) > RETIRED_SHOWN else ""
    one = names[0] if len(names) == 1 else "NAME"
    shown = ", ".join(names[:RETIRED_SHOWN])
    return f"skip  {shown}{more}  retired: no handoff; `{command(f'retire --undo {one}')}` undoes it\n"
