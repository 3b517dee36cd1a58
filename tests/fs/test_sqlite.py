"""SQLite as our records use it: what is not ours is refused by name and left as it is."""

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from model_provisioner.fs.sqlite import (
    DamagedDatabaseError,
    Database,
    ForeignDatabaseError,
    ReadOnlyDatabase,
    from_column,
    to_column,
)
from model_provisioner.errors import StorageError

SCHEMA = "CREATE TABLE t (x); CREATE INDEX i ON t (x)"


def opened(path, kind=Database, version=1, **options):
    return kind(str(path), title="box", application_id=0x42, version=version, schema=SCHEMA, **options)


def put(database, value):
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (?)", (value,))


def test_a_database_is_made_in_wal_mode_and_kept(tmp_path):
    path = tmp_path / "state" / "x.db"
    put(opened(path), 1)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert opened(path).query("SELECT x FROM t") == [(1,)]


def test_what_is_committed_is_on_the_disk(tmp_path):
    """SQLite calls it FULL: in WAL mode every commit is synced."""
    database = opened(tmp_path / "x.db")
    assert database.query("PRAGMA synchronous") == [(2,)]


def test_a_new_database_takes_one_question_and_one_script_and_an_old_one_no_more(tmp_path, monkeypatch):
    calls = []

    class Counting(sqlite3.Connection):
        def execute(self, *arguments):
            calls.append("execute")
            return super().execute(*arguments)

        def executescript(self, *arguments):
            calls.append("executescript")
            return super().executescript(*arguments)

    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **named: sqlite3.dbapi2.connect(*args, factory=Counting, **named)
    )
    for _ in range(2):
        opened(tmp_path / "x.db").query("SELECT x FROM t")
        assert calls == ["execute", "executescript", "execute"]  # the last one is the query
        calls.clear()


def test_a_kill_before_the_end_of_the_script_leaves_a_new_file(tmp_path):
    path = tmp_path / "x.db"
    with pytest.raises(StorageError):
        opened(path, upgrades=("CREATE TABLE t (x)",)).query("SELECT 1")  # t is there already: the script stops
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert opened(path).query("SELECT x FROM t") == []


def test_a_transaction_is_whole_or_nothing(tmp_path):
    database = opened(tmp_path / "x.db")
    with pytest.raises(KeyError), database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        raise KeyError
    assert database.query("SELECT x FROM t") == []


def test_threads_and_forked_children_write_at_once(tmp_path):
    database = opened(tmp_path / "x.db")
    put(database, 0)
    children = []
    for child in range(3):
        if (pid := os.fork()) == 0:
            for number in range(20):
                put(database, child * 100 + number)
            os._exit(0)
        children.append(pid)
    threads = [threading.Thread(target=lambda: [put(database, number) for number in range(20)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert database.query("SELECT count(*) FROM t") == [(121,)]


@pytest.mark.parametrize(
    ("harm", "what", "found"),
    [
        ("PRAGMA user_version=7", "the box was written by another version of model-provisioner", "schema version 7"),
        ("PRAGMA application_id=5", "the box is a database of another program", "application_id 0x5"),
    ],
)
@pytest.mark.parametrize("kind", [Database, ReadOnlyDatabase])
def test_another_version_or_program_is_refused_by_name_and_left_alone(tmp_path, harm, what, found, kind):
    path = tmp_path / "x.db"
    put(opened(path), 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(harm)
    before = path.read_bytes()
    with pytest.raises(ForeignDatabaseError) as caught:
        opened(path, kind).query("SELECT x FROM t")
    assert caught.value.what == what
    assert caught.value.where == str(path)
    assert caught.value.found == found
    assert caught.value.fix.startswith("it was left as it is: ")
    assert path.read_bytes() == before


@pytest.mark.parametrize("harm", ["garbage", "foreign"])
def test_what_is_no_database_of_ours_is_left_alone(tmp_path, harm):
    path = tmp_path / "x.db"
    if harm == "garbage":
        path.write_bytes(b"not a database, not a database" * 100)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabaseError):
        put(opened(path), 1)
    assert path.read_bytes() == before


def test_a_text_that_is_no_utf_8_is_damage(tmp_path):
    path = tmp_path / "x.db"
    put(opened(path), 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE t SET x = CAST(x'ff' AS TEXT)")
        connection.commit()
    with pytest.raises(DamagedDatabaseError) as caught:
        opened(path).query("SELECT x FROM t")
    assert caught.value.what == "the box is damaged or not a database"


def test_a_locked_database_is_told_after_the_time_out(tmp_path):
    path = tmp_path / "x.db"
    put(opened(path), 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            put(opened(path, busy_seconds=0.1), 2)
    assert str(caught.value) == (
        "the box can't be used now\n"
        f"  where     {path}\n"
        "  expected  a database that can be read and written\n"
        "  found     database is locked\n"
        "  fix       check that its disk is not full or read-only and that no other program holds it; then run again"
    )


def test_looking_makes_and_leaves_nothing(tmp_path):
    path = tmp_path / "state" / "x.db"
    assert opened(path, ReadOnlyDatabase).query("SELECT x FROM t") == []
    assert not path.parent.exists()
    put(opened(path), 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    left = set(os.listdir(path.parent))
    assert opened(path, ReadOnlyDatabase).query("SELECT x FROM t") == [(1,)]
    assert set(os.listdir(path.parent)) <= left


def test_looking_sees_what_a_running_writer_committed(tmp_path):
    path = tmp_path / "x.db"
    writer = opened(path)
    put(writer, 1)
    assert os.path.exists(f"{path}-wal")
    assert opened(path, ReadOnlyDatabase).query("SELECT x FROM t") == [(1,)]
    put(writer, 2)


@pytest.mark.parametrize("text", ["plain", "grüße", "new\nline", os.fsdecode(b"/x/\xff")])
def test_names_of_every_kind_come_back(tmp_path, text):
    database = opened(tmp_path / "x.db")
    put(database, to_column(text))
    assert [from_column(row[0]) for row in database.query("SELECT x FROM t WHERE x = ?", (to_column(text),))] == [text]


def test_many_that_open_a_new_file_at_once_all_find_it_whole(tmp_path):
    """SQLite's change to WAL waits for nobody, and a version is read in more than one step."""
    for number in range(30):
        start = threading.Barrier(8)

        def look(folder=tmp_path / str(number), start=start):
            database = opened(folder / "x.db")
            start.wait()
            database.query("SELECT * FROM t")

        with ThreadPoolExecutor(8) as pool:
            for each in [pool.submit(look) for _ in range(8)]:
                each.result()


@pytest.mark.parametrize("was_open", [True, False])
def test_of_two_that_find_it_damaged_the_second_deletes_nothing_of_the_firsts(tmp_path, was_open):
    """A cache that is damaged is deleted by whoever meets that; another may have made a new one by then."""
    path = tmp_path / "x.db"
    first, second = opened(path), opened(path)
    put(first, 1)
    if was_open:
        second.query("SELECT x FROM t")
    first.query("PRAGMA wal_checkpoint(TRUNCATE)")
    first.close()
    path.write_bytes(b"garbage" * 1000)
    if not was_open:
        with pytest.raises(DamagedDatabaseError):
            second.query("SELECT x FROM t")
    with pytest.raises(DamagedDatabaseError):
        first.query("SELECT x FROM t")
    first.delete()
    put(first, 2)
    second.delete()
    assert [each.query("SELECT x FROM t") for each in (first, second, opened(path))] == [[(2,)]] * 3
