"""What runs of this user downloaded, file by file, before the record of the whole model says so.

A source that does not say what digest its file has can't tell whether two downloads bring the same bytes. So each that
ended is noted here, by what was asked: who waited for it takes it, and so does the run after one that was killed before it
wrote its record. It lies in the catalog's database, in the state folder: what a store says of that may be anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

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
    validator: str | None = None
    """What the server called this version: a strong ETag or a time of last modification."""


@dataclass(frozen=True)
class NotedDownload(Downloaded):
    """A download that is in the record."""

    number: int = 0
    """Larger than that of each that ended before."""
    recorded: int | None = None
    """The number that was next when the record of the model was written; None where it was not."""

    def will_do(self, since: int, *, anew: bool) -> bool:
        """Tell whether it is as good as a new one to a run that wanted it when `since` was the last number.

        It is, if it ended after that. Unless the source is to be asked `anew`, one will do as well whose model was not recorded
        by then: had its run not been killed, or been faster, the record would be there, and the source not asked at all.
        """
        return self.number > since or (not anew and (self.recorded is None or self.recorded > since))


class DownloadRecord:
    """The downloads in the catalog's database. Each has a number, larger than those of all that ended before it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> int:
        """Return the largest number so far: what ends from now on gets a larger one."""
        return int(str(self._database.query(f"SELECT {_LAST}")[0][0]))

    def find(self, request: bytes) -> NotedDownload | None:
        """Return the last download for a request."""
        rows = self._database.query(
            "SELECT sha256, size, validator, number, recorded FROM download WHERE request = ?", (request,)
        )
        return NotedDownload(*cast("tuple[str, int, str | None, int, int | None]", rows[0])) if rows else None

    def note(self, request: bytes, found: Downloaded) -> None:
        """Remember that a download for a request ended: to be called before its bytes have their place."""
        with self._database.transaction() as connection:
            connection.execute(
                f"REPLACE INTO download (number, request, sha256, size, validator) VALUES ({_LAST} + 1, ?, ?, ?, ?)",
                (request, found.sha256, found.size, found.validator),
            )
            connection.execute(f"DELETE FROM download WHERE number <= {_LAST} - ?", (KEPT,))

    def note_recorded(self, requests: Iterable[bytes]) -> None:
        """Remember that the record of a model says by now what came for these requests."""
        with self._database.transaction() as connection:
            connection.executemany(
                f"UPDATE download SET recorded = {_LAST} + 1 WHERE request = ?", [(request,) for request in requests]
            )
