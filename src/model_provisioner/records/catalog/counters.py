"""Counters: what only ever grows, from the day on which the catalog was made. Monitoring asks how fast they do.

They lie in the catalog's database. Verifications are counted there by triggers, in the transaction that writes their result:
none is missed or counted twice, wherever a kill comes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError

if TYPE_CHECKING:
    from model_provisioner.fs.sqlite import Database

_FETCHED = "fetched bytes"
_VERIFIED = "verified "
"""And the outcome: see the triggers in `records/catalog/database.py`."""


class Counters:
    """The counters of this user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_fetched(self, size: int) -> None:
        """Count bytes that came from sources; where that can't be written they are not counted, and no model fails for it."""
        if size:
            with suppress(StorageError), self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                    (_FETCHED, size),
                )

    def fetched_bytes(self) -> int:
        """Return how many bytes came from sources."""
        return self._values().get(_FETCHED, 0)

    def verifications(self) -> dict[str, int]:
        """Return how often verifying an entry came out how, by outcome: pass, warn, fail or error, as far as any did."""
        return {
            name.removeprefix(_VERIFIED): value for name, value in self._values().items() if name.startswith(_VERIFIED)
        }

    def _values(self) -> dict[str, int]:
        return {str(name): int(str(value)) for name, value in self._database.query("SELECT name, value FROM counter")}
