"""What this user fetched: which commit the bytes of a model are of, as its source said when they came.

A store may be shared, or brought by a project: what its records say of a model's origin is not believed. This lies in the
catalog's database, in the state folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.sqlite import to_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.fs.sqlite import Database
    from model_provisioner.references.digest import Digest

KEPT = 50
"""How many fetches of one id are remembered, the last ones."""


@dataclass(frozen=True)
class Fetched:
    """One fetch of this user."""

    revision: str | None
    """The commit, where the source has any."""


class FetchRecord:
    """The fetches in the catalog's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, ids: Sequence[str], digest: Digest) -> Fetched | None:
        """Return how a model came to have bytes of this digest, given its ids, of which the first that is known counts.

        None where this user never fetched them.
        """
        for each in ids:
            rows = self._database.query(
                "SELECT revision FROM fetched WHERE id = ? AND digest = ?", (to_column(each), str(digest))
            )
            if rows:
                return Fetched(None if rows[0][0] is None else str(rows[0][0]))
        return None

    def note(self, model_id: str, digest: Digest, revision: str | None, time: str) -> None:
        """Remember that the source of a model gave bytes of this digest, as this commit, at this time (ISO 8601, UTC)."""
        key = to_column(model_id)
        with self._database.transaction() as connection:
            connection.execute("REPLACE INTO fetched VALUES (?, ?, ?, ?)", (key, str(digest), revision, time))
            connection.execute(
                "DELETE FROM fetched WHERE id = ? AND digest NOT IN "
                "(SELECT digest FROM fetched WHERE id = ? ORDER BY time DESC, digest LIMIT ?)",
                (key, key, KEPT),
            )
