"""doit's rows in SQLite: a task at a time, so that a killed run loses none that it finished, and two runs may meet.

Every doit command in the environment imports this module: it does nothing at import.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TITLE, _APPLICATION, _VERSION = "state of doit", 0x6D706474, 1
_MAGIC = b"SQLite format 3\0"
_SCHEMA = "CREATE TABLE task (id TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID"


class StateDB:
    """The backend `models` of doit: the interface is doit's, see `doit.dependency.DbmDB`.

    doit does not say when a task is done. But it writes `deps:` last, so a row is kept when that is set.
    """

    desc = "SQLite, kept a task at a time, shared by runs at the same time"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        from model_provisioner.fs.sqlite import Database
        from model_provisioner.fs.state_folder import state_folder

        name = os.path.abspath(name)  # a bare name has no folder, and a task may go elsewhere
        self.name, self._codec = name, codec
        state = _worded(state_folder)
        self._is_in_state = name.startswith(f"{state}/")
        self._database = Database(
            name,
            title=_TITLE,
            application_id=_APPLICATION,
            version=_VERSION,
            schema=_SCHEMA,
            state=state if self._is_in_state else None,
        )
        self._together = False
        self._dirty: set[str] = set()
        self._rows: dict[str, dict[str, Any]] = {}
        """What was decoded or set."""
        self._stored: dict[str, str] = _worded(self._read)
        """What the file holds, in its own form: most of it nobody asks for."""

    def get(self, task_id: str, dependency: str) -> Any:
        """Return what was set for a task, None where nothing was."""
        return self._row(task_id).get(dependency)

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Set a value of a task."""
        self._row(task_id)[dependency] = value
        self._dirty.add(task_id)
        if dependency == "deps:" and not self._together:
            _worded(self._write)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep the tasks that are done in the block at its end, in one transaction."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            _worded(self._write)

    def in_(self, task_id: str) -> bool:
        """Tell whether anything was set for a task."""
        return task_id in self._stored or bool(self._rows.get(task_id))

    def remove(self, task_id: str) -> None:
        """Forget a task, at once."""
        self._rows.pop(task_id, None)
        self._dirty.discard(task_id)
        if self._stored.pop(task_id, None) is not None:
            _worded(lambda: self._change("DELETE FROM task WHERE id = ?", (task_id,)))

    def remove_all(self) -> None:
        """Forget all tasks, at once."""
        self._rows, self._stored, self._dirty = {}, {}, set()
        _worded(lambda: self._change("DELETE FROM task", ()))

    def dump(self) -> None:
        """Keep what is left to keep, and close the file."""
        _worded(self._write)
        self._database.close()

    def _row(self, task_id: str) -> dict[str, Any]:
        if task_id not in self._rows:
            try:
                found = self._codec.decode(self._stored.get(task_id, "{}"))
            except ValueError:
                found = None  # damaged: it may be lost at any time
            self._rows[task_id] = found if isinstance(found, dict) else {}
        return self._rows[task_id]

    def _read(self) -> dict[str, str]:
        from model_provisioner.fs.sqlite import DamagedDatabaseError

        try:
            return self._select()
        except DamagedDatabaseError:
            if not self._is_in_state:
                raise
            self._database.delete()  # it may be lost at any time
            return self._select()

    def _select(self) -> dict[str, str]:
        return {str(task_id): str(data) for task_id, data in self._database.query("SELECT id, data FROM task")}

    def _write(self) -> None:
        if not self._dirty:
            return
        rows = [(task_id, self._codec.encode(self._rows[task_id])) for task_id in self._dirty]
        with self._database.transaction() as connection:
            connection.executemany("REPLACE INTO task VALUES (?, ?)", rows)
        self._stored.update(rows)
        self._dirty.clear()

    def _change(self, sql: str, values: tuple[str, ...]) -> None:
        with self._database.transaction() as connection:
            connection.execute(sql, values)


def rows_in(path: str) -> dict[str, object] | None:
    """Return what a file of this backend keeps of each task, by its name; None of a file that is no SQLite database.

    Nothing is changed. Raises `StorageError` for a damaged file, and one of another program, and `OSError`.
    """
    import json

    from model_provisioner.fs.read import read_beginning
    from model_provisioner.fs.sqlite import ReadOnlyDatabase

    if not os.path.exists(path) or read_beginning(path, len(_MAGIC)) != _MAGIC:  # dbm may add an ending to the name
        return None
    database = ReadOnlyDatabase(
        os.path.abspath(path), title=_TITLE, application_id=_APPLICATION, version=_VERSION, schema=_SCHEMA
    )
    with closing(database):
        rows = database.query("SELECT id, data FROM task ORDER BY id")
    found: dict[str, object] = {}
    for task, data in rows:
        try:
            found[str(task)] = json.loads(str(data))
        except ValueError:
            found[str(task)] = f"damaged: {data}"
    return found


def _worded(work: Any) -> Any:
    """Do `work`; word its trouble so that doit prints it without a traceback."""
    from doit.exceptions import InvalidDodoFile

    from model_provisioner.errors import StorageError

    try:
        return work()
    except StorageError as error:
        raise InvalidDodoFile(str(error)) from error
