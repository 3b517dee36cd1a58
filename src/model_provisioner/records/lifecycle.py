"""The lifecycle of a model: its states and the moves between them. `Catalog.put` checks every write against this table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from model_provisioner.errors import InvalidMoveError, RetiredModelError
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Mapping

Lifecycle = Literal["Pending", "Active", "Failed", "Retired"]
By = Literal["run", "hand"]
"""Who moves a model: a run, which fetches or verifies it, or a person, with `model-retire`."""

Move: TypeAlias = tuple[Lifecycle | None, Lifecycle]
"""From and to; from None if the catalog has no row."""

_BY_RUN: tuple[Lifecycle, ...] = ("Pending", "Active", "Failed")

MOVES: Mapping[Move, By] = {
    **dict.fromkeys(((old, new) for old in (None, *_BY_RUN) for new in _BY_RUN), "run"),
    **dict.fromkeys(((old, "Retired") for old in (None, *_BY_RUN, "Retired")), "hand"),
    ("Retired", "Pending"): "hand",  # the retirement is undone, and the next run goes on from there
}
"""Every move, and who may make it. No run ends a retirement."""


def refusal(name: str, move: Move, by: By, where: str) -> InvalidMoveError | None:
    """Return the error for a move that is not in the table; `where` is the path of the catalog."""
    if MOVES.get(move) == by:
        return None
    old, new = move
    if old == "Retired":
        return RetiredModelError(
            f"{name} is retired",
            where=where,
            expected="a model in service",
            found="a model without handoff, until its retirement is undone",
            fix=called(f"retire --undo {name}"),
        )
    allowed = [state for (begin, state), who in MOVES.items() if begin == old and who == by]
    return InvalidMoveError(
        f"{name} can't become {new}",
        where=where,
        expected=" or ".join(allowed) or "no move at all",
        found=f"{name} is {old}" if old else f"{name} is not in the catalog",
        fix=f"see `{called('show')}`",
    )
