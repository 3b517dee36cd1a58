"""Publishing, in the process of its own: one statement where nothing moved, else one transaction for each project that did."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import FleetError
from model_provisioner.fs.ownership import login_of
from model_provisioner.fs.sqlite import Database
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.invocation import command as called
from model_provisioner.operations.fleet.known import read_known, tell_alive
from model_provisioner.operations.fleet.machine import machine_id
from model_provisioner.records.catalog.database import catalog_file
from model_provisioner.records.catalog.publications import Identity, Publications, as_text
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from model_provisioner.operations.fleet.database import Connection
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
_COLUMNS = ", ".join(_TYPES)
_REST = tuple(_TYPES)[1:]
_ANNOUNCE = """
INSERT INTO fleet.catalog AS c (catalog, publication, host, login, version, clock_skew_seconds)
  VALUES (%(catalog)s, %(token)s, %(host)s, %(login)s, %(version)s, %(skew)s)
ON CONFLICT (catalog) DO UPDATE SET publication = excluded.publication, host = excluded.host, login = excluded.login,
  version = excluded.version, clock_skew_seconds = excluded.clock_skew_seconds, published_at = now()
  WHERE c.publication = %(seen)s
"""
"""Writes the row of the host, and locks it, if the last publication was ours."""
_SEND = f"""
SET LOCAL statement_timeout = %(milliseconds)s;
{_ANNOUNCE};
WITH
  fenced AS (
    INSERT INTO fleet.project AS p
      SELECT catalog, %(project)s, %(change)s FROM fleet.catalog WHERE catalog = %(catalog)s AND publication = %(token)s
    ON CONFLICT (catalog, project) DO UPDATE SET change = excluded.change WHERE p.change IS NULL OR p.change < excluded.change
    RETURNING catalog, project),
  incoming AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(models)s::json) AS each ({", ".join(f"{name} {kind}" for name, kind in _TYPES.items())})),
  removed AS (
    DELETE FROM fleet.model AS m USING fenced
      WHERE m.catalog = %(catalog)s AND m.project = %(project)s AND m.name NOT IN (SELECT name FROM incoming)
    RETURNING 1),
  written AS (
    INSERT INTO fleet.model AS m (catalog, project, {_COLUMNS})
      SELECT catalog, project, {_COLUMNS} FROM fenced, incoming
    ON CONFLICT (catalog, project, name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _REST)}
      WHERE ({", ".join(f"m.{name}" for name in _REST)}) IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _REST)})
    RETURNING 1)
SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM removed)
"""
"""One message, which is one transaction: a host that vanishes in the middle of it has sent nothing. The temporary table that a
COPY needs would cost more than all else: the server writes it into its own catalogs, and tells every connection."""
_SEEN = "SELECT publication FROM fleet.catalog WHERE catalog = %(catalog)s"
_FORGET = """
DELETE FROM fleet.project p USING fleet.catalog c
  WHERE p.catalog = %(catalog)s AND p.change IS NULL AND c.catalog = p.catalog AND c.publication = %(token)s
"""


def publish(connection: Connection, asked: Mapping[str, Any], sent: Callable[[str], None]) -> dict[str, Any]:
    """Publish the catalog in the state folder `asked["state"]`; call `sent` with each project that arrived.

    `as_new` and `take_over` say what a catalog is that has a copy. Raises `FleetError` and `StorageError`.
    """
    ensure_state_folder(asked["state"])
    machine = machine_id()
    host = {
        "host": as_text(socket.gethostname()),
        "login": as_text(login_of(os.geteuid())),
        "version": __version__,
        "milliseconds": max(1, int(asked["seconds"] * 1000)),
    }
    with closing(catalog_file(asked["state"], Database)) as database:
        publications = Publications(database)
        if not asked["as_new"] and (unmoved := publications.unmoved(machine)) is not None:
            catalog, token = unmoved
            if (skew := tell_alive(connection, {**host, "catalog": catalog}, token)) is not None:
                return _answer(Identity(catalog, is_copy=False), skew)
        identity = publications.identify(machine, anew=asked["as_new"], restored=asked["take_over"])
        sender = Sender(connection, publications, {**host, "catalog": identity.catalog}, asked["shown"])
        known = sender.meet()
        if not sender.is_ours(known.token):
            if not asked["take_over"]:
                raise sender.foreign()
            known = sender.take_over()
        projects, written, removed = [], 0, 0
        for project in known.moved:
            wrote, deleted = sender.send(project, known)
            written, removed = written + wrote, removed + deleted
            projects.append(as_text(project))
            sent(projects[-1])
        sender.finish(known, moved=bool(projects))
    return _answer(identity, known.skew, projects, written, removed)


def _answer(
    identity: Identity, skew: int, projects: Sequence[str] = (), written: int = 0, removed: int = 0
) -> dict[str, Any]:
    return {
        "catalog": str(identity.catalog),
        "is_copy": identity.is_copy,
        "projects": list(projects),
        "written": written,
        "removed": removed,
        "clock_skew_seconds": skew,
    }


class Sender:
    """Sends projects of one catalog."""

    def __init__(self, connection: Connection, publications: Publications, host: Mapping[str, Any], shown: str) -> None:
        self._connection, self._publications, self._host, self._shown = connection, publications, host, shown
        self._catalog: UUID = host["catalog"]
        self._changes: Mapping[str, int] | None = None
        """The number of each project when the database was asked what it knows; None once another publication came between."""
        self._seen: UUID | None = None
        """The token that the database has, as far as we know."""
        self._token: UUID | None = None
        """The token of this publication, as long as it is not whole."""

    def meet(self) -> Known:
        """Ask what the database knows of the catalog."""
        self._changes = changes = self._publications.changes()
        known = read_known(self._connection, self._host, changes, self._shown)
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
            "models": json.dumps([vars(each) for each in models], ensure_ascii=False, default=datetime.isoformat),
            "token": self._whole(known) if project == known.moved[-1] else self._drawn(),
            "skew": known.skew,
        }
        while (counts := self._sent(values)) is None:
            self._look_again()
            values["token"] = self._drawn()
        self._seen = values["token"]
        return counts

    def _sent(self, values: Mapping[str, object]) -> tuple[int, int] | None:
        """Return how many models were written and removed; None where the last publication is not the one that was seen."""
        cursor = self._connection.execute(_SEND, {**values, "seen": self._seen})
        cursor.nextset()
        announced = cursor.rowcount
        cursor.nextset()
        written, removed = cursor.fetchone() or (0, 0)
        return (written, removed) if announced else None

    def finish(self, known: Known, *, moved: bool) -> None:
        """Tell that this host is alive, and remove the projects that only another copy of the catalog had."""
        values = {**self._host, "skew": known.skew}
        if not moved:
            token = self._whole(known)
            while not self._connection.execute(_ANNOUNCE, {**values, "token": token, "seen": self._seen}).rowcount:
                self._look_again()
                token = self._drawn()
            self._seen = token
        if known.has_foreign:
            self._connection.execute(_FORGET, {**values, "token": self._seen})

    def _drawn(self) -> UUID:
        """Return the token of this publication, which says nothing of what else is there."""
        self._token = self._token or self._publications.draw()
        return self._token

    def _whole(self, known: Known) -> UUID:
        """Return a token for what comes last: with it all is there that is here, so that the next publication need not ask."""
        if known.has_foreign or self._changes is None:
            return self._drawn()
        return self._publications.draw(self._changes)

    def _look_again(self) -> None:
        """See which token the database has, where it is not what it was. Raises `FleetError` if it is not ours."""
        row = self._connection.execute(_SEEN, self._host).fetchone()
        if row is None:  # there is one, which is not for this role to see
            raise self._others()
        token: UUID = row[0]
        if not self.is_ours(token):
            raise self.foreign()
        self._seen, self._changes = token, None

    def _others(self) -> FleetError:
        return FleetError(
            "another role published this catalog to the fleet's database",
            where=self._shown,
            expected=f"the role that published {self._catalog} first",
            found=f"{self._connection.info.user}, which may not change what others published",
            fix=f"publish as that role; if it is a copy, `{called('publish --as-new')}` publishes it beside the other",
        )
