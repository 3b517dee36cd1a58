"""A real PostgreSQL on loopback for the tests that publish: one cluster a session, a database of its own for each test."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from model_provisioner.operations.fleet import schema
from model_provisioner.operations.fleet.database import Connection, connected
from model_provisioner.operations.fleet.sending import publish
from model_provisioner.records.catalog.catalog import Catalog, Model

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
PASSWORD = "fleet-s3cret"
"""Of every role that logs in."""
GROUPS = ("fleet_owner", "fleet_writer", "fleet_reader")
LOGINS = {"admin": "fleet_owner", "host_a": "fleet_writer", "host_b": "fleet_writer", "grafana": "fleet_reader"}
"""Who may log in, and the group that each is in; `nobody_s` is in none."""
QUIET = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "120"}


class Postgres:
    """A cluster in a folder of its own, run as a user that is not root; it ends with its block, and with this process."""

    def __init__(self, parent: str | None = None, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent or "/tmp"))
        self._settings = {**QUIET, **settings}
        self.port = _free_port()
        self._count = itertools.count(1)
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._as = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.data = self.folder / "data"
        subprocess.run(
            [BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd=self.folder, timeout=60, **self._as,
        )  # fmt: skip
        (self.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        self.execute(
            *(f"CREATE ROLE {name} NOLOGIN" for name in GROUPS),
            *(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE {group}" for name, group in LOGINS.items()),
            f"CREATE ROLE nobody_s LOGIN PASSWORD '{PASSWORD}'",
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = itertools.chain.from_iterable(("-c", f"{name}={value}") for name, value in self._settings.items())
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "QUIT", BIN / "postgres", "-D", self.data, "-k", self.folder, "-h", "127.0.0.1",
                 "-p", str(self.port), *settings],
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._as,
            )  # fmt: skip
        for _ in range(1000):
            with suppress(psycopg.OperationalError), closing(psycopg.connect(self.admin())):
                return
            assert self._server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.01)
        raise AssertionError("PostgreSQL does not answer")

    def admin(self, database: str = "postgres") -> str:
        """Return the address of a database for the superuser, by the socket."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple]:
        """Do statements as the superuser; return the rows of the last."""
        with closing(psycopg.connect(self.admin(database), autocommit=True)) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[FleetDatabase]:
        """Make an empty database that fleet_owner owns; it is gone at the end of the block."""
        name = f"fleet_{os.getpid()}_{next(self._count)}"
        self.execute(f"CREATE DATABASE {name} OWNER fleet_owner TEMPLATE template0")
        try:
            yield FleetDatabase(self, name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def start_again(self) -> None:
        """End the server, in whatever state it is, and start it."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the server."""
        if self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)
                self._server.wait(10)

    def close(self) -> None:
        """End the server and remove what it had."""
        self.stop()
        shutil.rmtree(self.folder)


@dataclass
class FleetDatabase:
    """A database, empty before the first publish."""

    server: Postgres
    name: str
    port: int = field(default=0)
    """Where it is reached, if not at the server's own port."""

    def url(self, role: str = "admin", password: str = PASSWORD, **options: str) -> str:
        """Return the address as a user writes it."""
        end = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port or self.server.port}/{self.name}{'?' if end else ''}{end}"

    @property
    def place(self) -> str:
        """The address as it is shown."""
        return f"postgresql://127.0.0.1:{self.port or self.server.port}/{self.name}"

    def make(self) -> None:
        """Make the schema, as its owner does."""
        with connected(self.url(), self.place, 20) as connection:
            schema.ensure(connection, self.place)

    def query(self, *statements: str) -> list[tuple]:
        """Do statements as the superuser; return the rows of the last."""
        return self.server.execute(*statements, database=self.name)

    def query_as(self, role: str, statement: str) -> list[tuple]:
        """Do a statement as a role that logs in; return its rows."""
        with closing(psycopg.connect(self.url(role), autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@dataclass
class Host:
    """A catalog, published by calls in this process."""

    database: FleetDatabase
    state: str
    role: str = "host_a"

    def put(self, *names: str, project: str = "/p", **fields: object) -> None:
        """Write rows into the catalog."""
        values = {"lifecycle": "Active", "outcome": "pass", "digest": f"sha256:{'0' * 64}", "size": 1, **fields}
        with closing(Catalog(self.state)) as catalog:
            catalog.put(*(Model(project=project, name=name, id=f"hf:org/repo/{name}", **values) for name in names))

    def remove(self, *names: str, project: str = "/p") -> None:
        """Remove rows from the catalog."""
        with closing(Catalog(self.state)) as catalog:
            catalog.remove(project, names)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with connected(self.database.url(self.role), self.database.place, 20) as connection:
            yield connection

    def publish(self, *, as_new: bool = False, take_over: bool = False) -> dict:
        """Publish it; return what `publish` does."""
        asked = {
            "state": self.state,
            "shown": self.database.place,
            "seconds": 20,
            "as_new": as_new,
            "take_over": take_over,
        }
        with self.connected() as connection:
            return publish(connection, asked, lambda _: None)

    def copy(self, to: Path, **options: str) -> Host:
        """Return a host whose catalog is a copy of this one's."""
        to.mkdir(mode=0o700)
        for path in Path(self.state).glob("catalog.db*"):
            shutil.copy(path, to)
        return Host(self.database, str(to), **{"role": self.role, **options})


class Silence:
    """A peer that accepts, reads what comes and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True, name="process_request_thread").start()

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        """Leave it alone."""


class Partition(Silence):
    """A way to a server that is cut, both ways and without a word, when the server has said `after` so many `times`."""

    def __init__(self, port: int, after: bytes, times: int = 1) -> None:
        self._to, self._after, self._left = port, after, times
        self.cut = threading.Event()
        super().__init__()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._to))
        self._sockets.append(server)
        for one, other in ((client, server), (server, client)):
            threading.Thread(
                target=self._pass, args=(one, other, one is server), daemon=True, name="process_request_thread"
            ).start()

    def _pass(self, one: socket.socket, other: socket.socket, is_server: bool) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if not self.cut.is_set():
                    other.sendall(data)
                if is_server and self._after in data:
                    self._left -= 1
                    if self._left == 0:
                        self.cut.set()


ANSWERED = b"SELECT 1\x00"
"""How the server ends an answer of one row: what it knows of a catalog, and then that a project arrived."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
