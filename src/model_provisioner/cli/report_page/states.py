"""The states of models as the page shows them: one list, of which tiles, sentence, badges, filters and picture are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.model_report import ModelReport, Stands
    from model_provisioner.operations.report import Report


@dataclass(frozen=True)
class State:
    """What models have in common that are shown alike."""

    key: LiteralString
    """The class of the style, which has its colour and symbol, and the anchor that shows these models alone."""
    title: LiteralString
    said: LiteralString
    """The same, after a number, in a sentence."""
    in_order: bool


FAILED = State("failed", "Failed", "failed", False)
TOLERATED = State("tolerated", "Failed, handed off", "failed but handed off", False)
TO_DO = State("todo", "To be done", "to be done", False)
UNPINNED = State("unpinned", "Verified, not pinned", "verified but not pinned", True)
VERIFIED = State("verified", "Verified", "verified", True)
RETIRED = State("retired", "Retired", "retired", True)

STATES = (FAILED, TOLERATED, TO_DO, UNPINNED, VERIFIED, RETIRED)
"""Every state, the one that needs attention most first: the order of the table."""

_STANDS: dict[Stands, State] = {
    "failed": FAILED,
    "tolerated": TOLERATED,
    "stale": TO_DO,
    "pending": TO_DO,
    "new": TO_DO,
    "retired": RETIRED,
    "current": VERIFIED,
}
_FINER: dict[Stands, LiteralString] = {
    "stale": "To be done again",
    "pending": "Not finished",
    "new": "Not provisioned yet",
}


def state_of(model: ModelReport) -> State:
    """Return the state of a model."""
    state = _STANDS[model.stands]
    return UNPINNED if state is VERIFIED and not model.pinned else state


def badge(model: ModelReport) -> LiteralString:
    """Return what the table says of a model's state."""
    return _FINER.get(model.stands, state_of(model).title)


def by_state(report: Report) -> dict[State, list[ModelReport]]:
    """Return the models of each state, in the order of both."""
    found: dict[State, list[ModelReport]] = {state: [] for state in STATES}
    for model in report.models:
        found[state_of(model)].append(model)
    return found
