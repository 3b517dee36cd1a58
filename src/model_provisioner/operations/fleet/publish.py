"""Publish: send what moved of this user's catalog to the fleet's database."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from model_provisioner.operations.fleet.address import fleet_address
from model_provisioner.operations.fleet.process import Question, ask

SKEWED = 60
"""By how many seconds the clock may differ from the database's before that is told."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication did."""

    database: str
    """As it is shown."""
    catalog: str
    """The UUID under which the fleet knows this catalog."""
    is_copy: bool
    """Whether the catalog came from another machine, and is published as one of its own from now on."""
    projects: list[str]
    """Those that moved since the last time."""
    written: int
    """How many models are new or changed."""
    removed: int
    """How many models are gone."""
    clock_skew_seconds: int
    """By how much the clock here is ahead of the database's."""


def publish(state: str, *, seconds: float, jitter: float, as_new: bool, take_over: bool) -> Published:
    """Publish the catalog in the state folder; all ends `seconds` after it began, which is up to `jitter` seconds from now.

    `as_new` and `take_over` say what a catalog is that has a copy. Raises `SettingError`, `FleetError`, `StorageError` and
    `MissingExtraError`.
    """
    address = fleet_address()
    time.sleep(random.uniform(0, jitter))  # noqa: S311  so that hosts with one timer do not come at one moment
    values = {"state": state, "as_new": as_new, "take_over": take_over}
    return Published(database=address.shown, **ask(address, Question("publish", values), seconds))
