"""What runs of this user downloaded, file by file, before the record of the whole model says so.

A source that does not say what digest its file has can't tell whether two downloads bring the same bytes. So each that
ended is noted here, by what was asked: who waited for it takes it, and so does the run after one that was killed before it
wrote its record. It lies in the catalog's database, in the state folder: what a store says of that may be anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.fs.sqlite import Database

KEPT = 200_000
"""How many downloads are remembered, the last ones: twice as many as one model may have files."""

_LAST = (
    "max(ifnull((SELECT max(number) FROM download), 0), ifnull((SELECT max(recorded) FROM download), 0))"  # two indexes
)


@dataclass(frozen=True)
class Downloaded:
    """The bytes that one download brought."""

    sha256: str
    """In hexadecimal digits."""
    size: int
    """In bytes."""


class DownloadRecord:
    """The downloads in the catalog's database. Each has a number, larger than those of all that ended before it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> int:
        """Return the largest number so far: what ends from now on gets a larger one."""
        return int(str(self._database.query(f"SELECT {_LAST}")[0][0]))

    def find(self, request: bytes, since: int, *, anew: bool) -> Downloaded | None:
        """Return the last download for a request, if it ended after `since`, a number that `last` returned.

        Unless the source is to be asked `anew`, one will do as well whose model was not recorded by then: had its run not
        been killed, or been faster, the record of the model would be there, and its source not asked at all.
        """
        rows = self._database.query(
            "SELECT sha256, size FROM download WHERE request = ? AND "
            "(number > ? OR (NOT ? AND ifnull(recorded > ?, TRUE)))",
            (request, since, anew, since),
        )
        return Downloaded(str(rows[0][0]), int(str(rows[0][1]))) if rows else None

    def note(self, request: bytes, found: Downloaded) -> None:
        """Remember that a download for a request ended: to be called before its bytes have their place."""
        with self._database.transaction() as connection:
            connection.execute(
                f"REPLACE INTO download (number, request, sha256, size) VALUES ({_LAST} + 1, ?, ?, ?)",
                (request, found.sha256, found.size),
            )
            connection.execute(f"DELETE FROM download WHERE number <= {_LAST} - ?", (KEPT,))

    def note_recorded(self, requests: Iterable[bytes]) -> None:
        """Remember that the record of a model says by now what came for these requests."""
        with self._database.transaction() as connection:
            connection.executemany(
                f"UPDATE download SET recorded = {_LAST} + 1 WHERE request = ?", [(request,) for request in requests]
            )
