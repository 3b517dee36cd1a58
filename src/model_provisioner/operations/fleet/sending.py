"""Publishing, in the process of its own: one transaction for each project that moved, and one statement where none did."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import FleetError
from model_provisioner.fs.ownership import login_of
from model_provisioner.fs.sqlite import Database
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.invocation import command as called
from model_provisioner.operations.fleet.known import read_known
from model_provisioner.operations.fleet.machine import machine_id
from model_provisioner.records.catalog.database import catalog_file
from model_provisioner.records.catalog.publications import Publications, as_text
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from model_provisioner.operations.fleet.database import Connection, Cursor
    from model_provisioner.operations.fleet.known import Known

_TYPES = {
    "name": "text",
    "id": "text",
    "digest": "text",
    "size_bytes": "bigint",
    "state": "text",
    "outcome": "text",
    "reason": "text",
    "verified_at": "timestamptz",
    "audited_at": "timestamptz",
}
_VALUES = attrgetter(*_TYPES)
_ANNOUNCE = """
INSERT INTO fleet.catalog AS c (catalog, publication, host, login, version, clock_skew_seconds)
  VALUES (%(catalog)s, %(token)s, %(host)s, %(login)s, %(version)s, %(skew)s)
ON CONFLICT (catalog) DO UPDATE SET publication = excluded.publication, host = excluded.host, login = excluded.login,
  version = excluded.version, clock_skew_seconds = excluded.clock_skew_seconds, published_at = now()
  WHERE c.publication = %(seen)s
"""
"""Writes the row of the host, and locks it, if the last publication was ours."""
_BEGIN = f"""
BEGIN;
SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL idle_in_transaction_session_timeout = %(milliseconds)s;
SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3;
CREATE TEMP TABLE incoming ({", ".join(f"{name} {kind}" for name, kind in _TYPES.items())}) ON COMMIT DROP;
{_ANNOUNCE};
INSERT INTO fleet.project AS p
  SELECT catalog, %(project)s, %(change)s FROM fleet.catalog WHERE catalog = %(catalog)s AND publication = %(token)s
ON CONFLICT (catalog, project) DO UPDATE SET change = excluded.change WHERE p.change IS NULL OR p.change < excluded.change
"""
"""A host that vanishes in the middle holds the lock of its row no longer than it would have waited itself."""
_SEEN = "SELECT publication FROM fleet.catalog WHERE catalog = %(catalog)s"
_FORGET = """
DELETE FROM fleet.project p USING fleet.catalog c
  WHERE p.catalog = %(catalog)s AND p.change IS NULL AND c.catalog = p.catalog AND c.publication = %(token)s
"""
_REST = tuple(_TYPES)[1:]
_MERGE = f"""
DELETE FROM fleet.model AS m WHERE catalog = %(catalog)s AND project = %(project)s
  AND NOT EXISTS (SELECT FROM incoming WHERE incoming.name = m.name);
INSERT INTO fleet.model AS m (catalog, project, {", ".join(_TYPES)})
  SELECT %(catalog)s, %(project)s, {", ".join(_TYPES)} FROM incoming
ON CONFLICT (catalog, project, name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _REST)}
  WHERE ({", ".join(f"m.{name}" for name in _REST)}) IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _REST)});
COMMIT
"""


def publish(connection: Connection, asked: Mapping[str, Any], sent: Callable[[str], None]) -> dict[str, Any]:
    """Publish the catalog in the state folder `asked["state"]`; call `sent` with each project that arrived.

    `as_new` and `take_over` say what a catalog is that has a copy. Raises `FleetError` and `StorageError`.
    """
    ensure_state_folder(asked["state"])
    with closing(catalog_file(asked["state"], Database)) as database:
        publications = Publications(database)
        identity = publications.identify(machine_id(), anew=asked["as_new"], restored=asked["take_over"])
        sender = Sender(connection, publications, identity.catalog, asked["shown"], asked["seconds"])
        known = sender.meet()
        if not sender.is_ours(known.token):
            if not asked["take_over"]:
                raise sender.foreign()
            known = sender.take_over()
        projects, written, removed = [], 0, 0
        for project in [each for each in publications.changes() if as_text(each) in known.moved]:
            wrote, deleted = sender.send(project, known)
            written, removed = written + wrote, removed + deleted
            projects.append(as_text(project))
            sent(projects[-1])
        sender.finish(known, moved=bool(projects))
    return {
        "catalog": str(identity.catalog),
        "is_copy": identity.is_copy,
        "projects": projects,
        "written": written,
        "removed": removed,
        "clock_skew_seconds": known.skew,
    }


def _counts(cursor: Cursor) -> list[int]:
    """Return how many rows each of several statements touched."""
    counts = [cursor.rowcount]
    while cursor.nextset():
        counts.append(cursor.rowcount)
    return counts


class Sender:
    """Sends projects of one catalog."""

    def __init__(
        self, connection: Connection, publications: Publications, catalog: UUID, shown: str, seconds: float
    ) -> None:
        self._connection, self._publications, self._catalog, self._shown = connection, publications, catalog, shown
        self._seen: UUID | None = None
        """The token that the database has, as far as we know."""
        self._token: UUID | None = None
        """The token of this publication."""
        self._host = {
            "catalog": catalog,
            "host": as_text(socket.gethostname()),
            "login": as_text(login_of(os.geteuid())),
            "version": __version__,
            "milliseconds": max(1, int(seconds * 1000)),
        }

    def meet(self) -> Known:
        """Ask what the database knows of the catalog."""
        changes = {as_text(project): number for project, number in self._publications.changes().items()}
        known = read_known(self._connection, self._host, changes, self._publications.last(), self._shown)
        self._seen = known.token
        return known

    def is_ours(self, token: UUID | None) -> bool:
        """Tell whether what the database has comes from this catalog, and from no copy of it."""
        return token is None or self._publications.remembers(token)

    def foreign(self) -> FleetError:
        """Return the error for a database that has what a copy of this catalog published."""
        return FleetError(
            "a copy of this catalog published to the fleet's database, and nothing was overwritten",
            where=self._shown,
            expected=f"what this catalog, {self._catalog}, published last",
            found="what it does not remember: it was restored from a backup, or another host or state folder has a copy of it",
            fix=f"if it was restored, `{called('publish --take-over')}` replaces what is there; if it is a copy, "
            f"`{called('publish --as-new')}` publishes it beside the other",
        )

    def take_over(self) -> Known:
        """Make what the database has of this catalog ours: each project is sent whatever its number was."""
        token = self._drawn()
        with self._connection.transaction():
            self._connection.execute(
                "UPDATE fleet.catalog SET publication = %s WHERE catalog = %s", (token, self._catalog)
            )
            self._connection.execute("UPDATE fleet.project SET change = NULL WHERE catalog = %s", (self._catalog,))
        return self.meet()

    def send(self, project: str, known: Known) -> tuple[int, int]:
        """Send a project, unless a newer state of it is there by now; return how many models were written and removed."""
        number, models = self._publications.models(project)  # the catalog is not held while the network is waited for
        values = {
            **self._host,
            "project": as_text(project),
            "change": number,
            "token": self._drawn(),
            "skew": known.skew,
        }
        while not (begun := self._begun(values))[0]:
            self._connection.execute("ROLLBACK")
            self._look_again()
        self._seen = self._drawn()
        if not begun[1]:
            self._connection.execute("COMMIT")
            return 0, 0
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY incoming ({', '.join(_TYPES)}) FROM STDIN") as copy:
                for model in models:
                    copy.write_row(_VALUES(model))
            removed, written, _ = _counts(cursor.execute(_MERGE, values))
        return written, removed

    def _begun(self, values: Mapping[str, object]) -> tuple[int, int]:
        """Begin the transaction of a project: return whether the host was written, and whether the project is to be."""
        *_, announced, fenced = _counts(self._connection.execute(_BEGIN, {**values, "seen": self._seen}))
        return announced, fenced

    def finish(self, known: Known, *, moved: bool) -> None:
        """Tell that this host is alive, and remove the projects that only another copy of the catalog had."""
        values = {**self._host, "skew": known.skew}
        if not moved and not known.is_told:
            token = self._seen or self._drawn()
            while not self._connection.execute(_ANNOUNCE, {**values, "token": token, "seen": self._seen}).rowcount:
                token = self._look_again()
            self._seen = token
        if known.has_foreign:
            self._connection.execute(_FORGET, {**values, "token": self._seen})

    def _drawn(self) -> UUID:
        self._token = self._token or self._publications.draw()
        return self._token

    def _look_again(self) -> UUID:
        """Return the token that the database has, where it is not what it was. Raises `FleetError` if it is not ours."""
        row = self._connection.execute(_SEEN, {"catalog": self._catalog}).fetchone()
        if row is None:  # there is one, which is not for this role to see
            raise self._others()
        token: UUID = row[0]
        if not self.is_ours(token):
            raise self.foreign()
        self._seen = token
        return token

    def _others(self) -> FleetError:
        return FleetError(
            "another role published this catalog to the fleet's database",
            where=self._shown,
            expected=f"the role that published {self._catalog} first",
            found=f"{self._connection.info.user}, which may not change what others published",
            fix=f"publish as that role; if it is a copy, `{called('publish --as-new')}` publishes it beside the other",
        )
