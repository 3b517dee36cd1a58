"""The connection to the fleet's database, in the process of its own, and its errors in words that hold no password."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
from psycopg import conninfo

from model_provisioner.errors import FleetError, SettingError
from model_provisioner.fs.ownership import login_of
from model_provisioner.operations.fleet.address import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]

_NOT_NOW = re.compile(
    "too many (clients|connections)|remaining connection slots|starting up|shutting down|not yet accepting|in recovery mode"
)
_AGAIN = "the next publish sends what is missing"


@contextmanager
def connected(url: str, shown: str, seconds: float) -> Iterator[Connection]:
    """Connect for the block, in which each statement is a transaction; word every error of the database in it.

    Raises `SettingError` for an address that libpq does not take, and `FleetError`.
    """
    try:
        options = conninfo.conninfo_to_dict(url)
    except psycopg.Error:  # its message has the address in it
        raise SettingError(
            f"{VARIABLE} is not the address of a PostgreSQL",
            where="the environment",
            expected="options that libpq knows, each with %XX where it needs that",
            found="another option, or one that is written wrong; it is not shown: it may be a password",
            fix="compare it with https://www.postgresql.org/docs/current/libpq-connect.html",
        ) from None
    with _worded(shown, options):
        connection = _connect(options, shown, seconds)
        try:
            yield connection
        finally:
            connection.close()


def _connect(options: Mapping[str, Any], shown: str, seconds: float) -> Connection:
    defaults = {
        "application_name": "model-provisioner",
        "client_encoding": "UTF8",  # whatever the database has: names are of any script
        "connect_timeout": max(2, int(seconds / 2)),
    }
    try:
        # Values are bound here: so several statements go at once, and a pooler may give each transaction another server.
        return psycopg.connect("", autocommit=True, cursor_factory=psycopg.ClientCursor, **{**defaults, **options})
    except psycopg.OperationalError as error:
        what, fix = _no_connection(str(error))
        raise FleetError(
            what, where=shown, expected="a PostgreSQL that lets this role in", found=_clean(error, options), fix=fix
        ) from None


def _no_connection(said: str) -> tuple[str, str]:
    """Return what it means that there is no connection, and what to do. libpq has words for it, and no code."""
    if _NOT_NOW.search(said):
        return (
            "the fleet's database takes no connection now",
            f"run it again in a while; if many hosts come at one moment, spread them by --jitter; {_AGAIN}",
        )
    if "FATAL" in said:
        return (
            "the fleet's database refuses the connection",
            f"correct role, password or database in {VARIABLE} or ~/.pgpass, or have its pg_hba.conf let this host in",
        )
    return (
        "the fleet's database is out of reach",
        f"look whether it is up, and whether {VARIABLE} has its host and port, and an sslmode that it speaks",
    )


@contextmanager
def _worded(shown: str, options: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        role = _role(options)
        raise FleetError(
            "the fleet's database does not let this role do that",
            where=shown,
            expected="a member of fleet_writer for publish, of fleet_reader for list --fleet",
            found=_clean(error, options),
            fix=f'have its superuser say   GRANT fleet_writer TO "{role}";   or   GRANT fleet_reader TO "{role}";',
        ) from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise FleetError(
            "the fleet's database can only be read",
            where=shown,
            expected="a server that takes writes",
            found=_clean(error, options),
            fix=f"name the primary in {VARIABLE}; of several hosts ?target_session_attrs=read-write finds it",
        ) from None
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state[:2] == "53":  # no disk, memory or connections left
            what, fix = "the fleet's database has no room", f"free some at its host; {_AGAIN}"
        elif state[:2] in {"", "08", "40", "57"}:
            what, fix = "the fleet's database broke off", f"look into its log, then run it again; {_AGAIN}"
        else:
            what = "the fleet's database does not take a statement of ours"
            fix = "look into its log, and report it with this message"
        raise FleetError(
            what,
            where=shown,
            expected="a PostgreSQL of version 15 or later that does what it is asked",
            found=_clean(error, options),
            fix=fix,
        ) from None


def _role(options: Mapping[str, Any]) -> str:
    """Return the role that libpq takes."""
    return str(options.get("user") or os.environ.get("PGUSER") or login_of(os.geteuid()))


def _clean(error: psycopg.Error, options: Mapping[str, Any]) -> str:
    """Return what the database or libpq says, without any password."""
    text = " ".join((error.diag.message_primary or str(error)).split())[:500]
    for secret in {str(options.get("password") or ""), os.environ.get("PGPASSWORD", "")} - {""}:
        text = text.replace(secret, "***")
    return f"{text} ({error.sqlstate})" if error.sqlstate else text
