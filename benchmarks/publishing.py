"""Publishing to a fleet's database from many hosts at once, and the same rows by a bare COPY and upsert.

Each client is a process of its own that has its connection before the clock runs: what is measured is the database and what
is done for it, not the start of fifty Pythons on one machine.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
import traceback
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from measure import Comparison
from process import Sample

from model_provisioner.operations.fleet import schema
from model_provisioner.operations.fleet.database import connected
from model_provisioner.operations.fleet.sending import publish
from model_provisioner.records.catalog.catalog import Catalog, Model
from model_provisioner.records.catalog.publications import Publications

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.operations.fleet.database import Connection

_SECONDS = 600.0
_COLUMNS = "catalog, project, name, id, digest, size_bytes, state, outcome, reason, verified_at, audited_at"
_NAMES = _COLUMNS.split(", ")
_BARE = """
DROP TABLE IF EXISTS bare;
CREATE TABLE bare (LIKE fleet.model INCLUDING INDEXES)
"""
_UPSERT = f"""
INSERT INTO bare SELECT * FROM incoming ON CONFLICT (catalog, project, name)
DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[3:])}
"""
"""With the table's key and indexes, and without its foreign key, its policies and our fence."""


def publishing(url: str, clients: int, each: int) -> Iterator[Comparison]:
    """Yield a first publication, one in which every model moved, and one in which none did: each against all rows, bare."""
    fleet = _Fleet(url, clients, each)
    what = f"from {clients} hosts, {each:,} models each"
    bare = "a bare COPY and upsert of them, "
    prepare = (fleet.prepare,)
    yield Comparison(
        what=f"publish, first, {what}", against=f"{bare}new", reach="1.5", prepare=prepare,
        ours=fleet.first, theirs=fleet.bare_first,
    )  # fmt: skip
    yield Comparison(
        what=f"publish, all moved, {what}", against=f"{bare}all changed", reach="1.5", prepare=prepare,
        ours=fleet.moved, theirs=fleet.bare_moved,
    )  # fmt: skip
    yield Comparison(
        what=f"publish, nothing moved, {what}", against=f"{bare}all changed", reach="0.1", prepare=prepare,
        ours=fleet.unchanged, theirs=fleet.bare_moved,
    )  # fmt: skip


class _Fleet:
    """As many catalogs as clients, each in a state folder of its own: on one disk fifty hosts would wait for each other's."""

    def __init__(self, url: str, clients: int, each: int) -> None:
        self._url, self._clients, self._each = url, clients, each
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._memory = tempfile.TemporaryDirectory(dir=memory)
        self._states = [os.path.join(self._memory.name, str(number)) for number in range(clients)]
        self._round = 0

    def prepare(self) -> None:
        """Make the catalogs and the tables."""
        if not os.path.exists(self._states[0]):
            self._change()
        with self._connected() as connection:
            schema.ensure(connection, "")
            connection.execute(_BARE)

    def first(self) -> Sample:
        with self._connected() as connection:
            connection.execute("TRUNCATE fleet.catalog CASCADE")
        return self._all(self._publish)

    def bare_first(self) -> Sample:
        with self._connected() as connection:
            connection.execute("TRUNCATE bare")
        return self._all(self._copy)

    def moved(self) -> Sample:
        self._all(self._publish)
        self._change()
        return self._all(self._publish)

    def bare_moved(self) -> Sample:
        self._all(self._copy)
        self._change()
        return self._all(self._copy)

    def unchanged(self) -> Sample:
        self._all(self._publish)
        return self._all(self._publish)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with connected(self._url, "", _SECONDS) as connection:
            yield connection

    def _change(self) -> None:
        """Change every row of every catalog."""
        self._round += 1
        for number, state in enumerate(self._states):
            os.makedirs(state, mode=0o700, exist_ok=True)
            with closing(Catalog(state)) as catalog:
                catalog.put(*(self._row(number, model) for model in range(self._each)))

    def _row(self, number: int, model: int) -> Model:
        digest = f"sha256:{model:032x}{self._round:032x}"
        return Model(
            project=f"/srv/projects/{number}", name=f"model-{model}", id=f"hf:org/model-{model}/model.Q4_K_M.gguf",
            lifecycle="Active", outcome="pass", digest=digest, size=model << 20,
            verified_at="2026-01-01T00:00:00Z", audited_at="2026-01-01T00:00:00Z",
        )  # fmt: skip

    def _all(self, work: Callable[[Connection, str], None]) -> Sample:
        """Do something for each catalog, all at once; the clock runs from when all are connected to when all are done."""
        fork = multiprocessing.get_context("fork")
        barrier = fork.Barrier(self._clients + 1)
        children = [fork.Process(target=self._one, args=(work, state, barrier)) for state in self._states]
        for child in children:
            child.start()
        barrier.wait(_SECONDS)
        began = time.perf_counter()
        try:
            barrier.wait(_SECONDS)
        except threading.BrokenBarrierError:
            raise SystemExit("a client failed") from None
        seconds = time.perf_counter() - began
        for child in children:
            child.join()
        return Sample(seconds=seconds)

    def _one(self, work: Callable[[Connection, str], None], state: str, barrier: threading.Barrier) -> None:
        try:
            with self._connected() as connection:
                barrier.wait(_SECONDS)
                work(connection, state)
                barrier.wait(_SECONDS)
        except BaseException:  # noqa: BLE001  a copy of this process is to end here, whatever happens
            traceback.print_exc()
            barrier.abort()
            os._exit(1)
        os._exit(0)

    def _publish(self, connection: Connection, state: str) -> None:
        asked = {"shown": "", "state": state, "seconds": _SECONDS, "as_new": False, "take_over": False}
        publish(connection, asked, lambda _: None)

    def _copy(self, connection: Connection, state: str) -> None:
        with closing(Catalog.reader(state)) as catalog:
            publications = Publications(catalog.database)
            (project,) = publications.changes()
            _, models = publications.models(project)
        key = f"00000000-0000-0000-0000-{int(os.path.basename(state)):012d}"
        connection.execute("BEGIN; CREATE TEMP TABLE incoming (LIKE fleet.model) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy(f"COPY incoming ({_COLUMNS}) FROM STDIN") as copy:
            for model in models:
                copy.write_row((key, project, *vars(model).values()))
        connection.execute(_UPSERT)
        connection.execute("COMMIT")
