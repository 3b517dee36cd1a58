"""Ask the fleet's database which hosts there are, and what they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.operations.fleet.address import fleet_address
from model_provisioner.operations.fleet.process import Question, ask
from model_provisioner.records.catalog.publications import as_text

if TYPE_CHECKING:
    from collections.abc import Collection

SECONDS = 30.0
"""How long the database may take."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which rows are asked for; None for whatever they have."""

    digest: str | None = None
    state: str | None = None
    silent: float | None = None
    """Of hosts that did not publish for more seconds than these."""
    locked: Collection[tuple[str, str]] | None = None
    """Of models with one of these ids, and another digest than those that stand beside it."""

    @property
    def is_about_models(self) -> bool:
        """Whether models are asked for, and not only hosts."""
        return (self.digest, self.state, self.locked) != (None, None, None)


@dataclass(frozen=True)
class Found:
    """An answer of the fleet's database."""

    rows: list[dict[str, Any]]
    """By the names of the columns of `fleet.hosts` or `fleet.models`."""
    is_cut: bool
    """Whether there are more rows, which were left out."""


def fleet_rows(wanted: Filter) -> Found:
    """Return the hosts of the fleet, or the models on them. Raises `SettingError`, `FleetError` and `MissingExtraError`."""
    locked = wanted.locked or ()
    values = {
        "digest": wanted.digest,
        "state": wanted.state,
        "silent": wanted.silent,
        "differs": wanted.locked is not None,
        "ids": [as_text(each) for each, _ in locked],
        "digests": [digest for _, digest in locked],
    }
    question = Question("models" if wanted.is_about_models else "hosts", values)
    answer = ask(fleet_address(), question, SECONDS)
    return Found(answer["rows"], answer["more"])
