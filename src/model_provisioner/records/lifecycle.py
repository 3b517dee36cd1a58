"""The life of a model: its states, and the moves between them. `Catalog.put` holds every write to this table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from model_provisioner.errors import InvalidMoveError, RetiredModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

Lifecycle = Literal["Pending", "Active", "Failed", "Retired"]
By = Literal["run", "hand"]
"""Who moves a model: a run that fetches or verifies it, or a person with `model-retire`."""

Move: TypeAlias = tuple[Lifecycle | None, Lifecycle]
"""From and to; from None where the catalog had no row."""

MOVES: Mapping[Move, By] = {
    (None, "Pending"): "run",
    (None, "Active"): "run",  # the memo knew its bytes from another project
    (None, "Failed"): "run",
    (None, "Retired"): "hand",
    ("Pending", "Pending"): "run",  # the run before was killed
    ("Pending", "Active"): "run",
    ("Pending", "Failed"): "run",
    ("Pending", "Retired"): "hand",
    ("Active", "Pending"): "run",
    ("Active", "Active"): "run",
    ("Active", "Failed"): "run",
    ("Active", "Retired"): "hand",
    ("Failed", "Pending"): "run",
    ("Failed", "Active"): "run",
    ("Failed", "Failed"): "run",
    ("Failed", "Retired"): "hand",
    ("Retired", "Retired"): "hand",
    ("Retired", "Pending"): "hand",  # the retirement is undone: what follows is a run's
}
"""Every move there is, and who may make it. A run takes nothing out of retirement."""


def refusal(name: str, move: Move, by: By, where: str) -> InvalidMoveError | None:
    """Return the error for a move that the table does not have; `where` is the file of the catalog."""
    if MOVES.get(move) == by:
        return None
    old, new = move
    if old == "Retired":
        return RetiredModelError(
            f"{name} is retired",
            where=where,
            found="a model without handoff, until its retirement is undone",
            fix=f"doit model-retire --undo {name}",
        )
    allowed = [state for (begin, state), who in MOVES.items() if begin == old and who == by]
    return InvalidMoveError(
        f"{name} can't become {new}",
        where=where,
        expected=" or ".join(allowed) or "no move at all",
        found=f"{name} is {old}" if old else f"{name} is not in the catalog",
        fix="see `doit model-show`",
    )
