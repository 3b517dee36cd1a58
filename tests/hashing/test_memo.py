"""The digest memo: what is read, what is not, and that no state of its file ever changes a truth."""

import errno
import hashlib
import mmap
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_provisioner.errors import ChangingModelError, ProvisionError, UnreadableModelError
from model_provisioner.fs.identity import identity
from model_provisioner.hashing import memo as memo_module
from model_provisioner.hashing.memo import OWN_LOCKS, Memo
from model_provisioner.hashing.memo_rows import Row
from model_provisioner.hashing.streaming import BUFFER
from tests.support.examples import examples
from tests.support.project import settle_in_every_process

OLD = time.time_ns() - 3600 * 10**9


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def age(path, seconds=3600):
    """Make the file's times old enough to be trusted. (ctime can't be set: wait for it.)"""
    then = time.time_ns() - seconds * 10**9
    os.utime(path, ns=(then, then))


@pytest.fixture
def settled(monkeypatch):
    """Let every file count as at rest for long, so that a test need not wait two seconds for its ctime."""
    monkeypatch.setattr("model_provisioner.hashing.memo.at_rest", lambda *_: True)


@pytest.fixture
def memo(tmp_path):
    return Memo(str(tmp_path / "state"))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a model.gguf"
    path.write_bytes(b"weights" * 1000)
    return path


def digest(memo, path, progress=lambda _: None, **options):
    (answer,) = memo.digests([str(path)], progress, **options)
    if isinstance(answer, ProvisionError):
        raise answer
    return answer


class Reads:
    def __init__(self):
        self.bytes = 0

    def __call__(self, count):
        self.bytes += count


def ask(memo, path, **options):
    reads = Reads()
    found = digest(memo, path, reads, **options)
    return found.sha256, found.how, reads.bytes


def ask_in_a_process_of_its_own(state, path):
    """Leave the memo's file whole and closed, as a run does."""
    if (child := os.fork()) == 0:
        memo = Memo(str(state))
        digest(memo, path)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with closing(sqlite3.connect(state / "memo.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_first_time_a_file_is_hashed_and_then_known_by_its_stat(memo, model, settled):
    data = model.read_bytes()
    assert memo.known(str(model)) is None
    assert ask(memo, model) == (sha256(data), "hashed", len(data))
    assert ask(memo, model) == (sha256(data), "stat", 0)


def test_a_touched_file_is_read_once_and_not_on_the_run_after(memo, model, settled):
    data = model.read_bytes()
    ask(memo, model)
    age(model)
    assert ask(memo, model) == (sha256(data), "xxh3", len(data))
    assert ask(memo, model) == (sha256(data), "stat", 0)


def test_other_bytes_of_the_same_size_and_mtime_are_hashed(memo, model, settled):
    age(model)
    ask(memo, model)
    before = os.stat(model)
    data = b"WEIGHTS" * 1000
    model.write_bytes(data)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ask(memo, model) == (sha256(data), "hashed", 2 * len(data))


def test_another_size_is_hashed_at_once(memo, model, settled):
    ask(memo, model)
    model.write_bytes(b"short")
    assert ask(memo, model) == (sha256(b"short"), "hashed", 5)


def test_under_recheck_sha256_a_touch_means_sha256(model, settled, tmp_path):
    memo = Memo(str(tmp_path / "state"), "sha256")
    ask(memo, model)
    age(model)
    assert ask(memo, model)[1] == "hashed"


@pytest.mark.parametrize("loaded", [True, False])
def test_under_recheck_sha256_a_row_that_a_fingerprint_confirmed_is_none_whoever_made_it(
    memo, model, settled, tmp_path, loaded
):
    """Neither for the file itself nor for a link to it."""
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    ask(memo, model)
    age(model)
    assert ask(memo, model)[1] == "xxh3"
    strict = Memo(str(tmp_path / "state"), "sha256")
    if loaded:
        strict.load([str(model), str(link)])
    assert strict.known(str(model)) is None
    assert strict.known(str(link)) is None
    assert ask(strict, link)[1:] == ("hashed", model.stat().st_size)
    for recheck in ("sha256", "xxh3"):
        assert Memo(str(tmp_path / "state"), recheck).known(str(model)).how == "stat"


def test_a_row_that_a_fingerprint_confirmed_is_hashed_again_where_that_counts_for_nothing(
    memo, model, settled, tmp_path
):
    ask(memo, model)
    age(model)
    ask(memo, model)
    strict = Memo(str(tmp_path / "state"), "sha256")
    assert ask(strict, model)[1] == "hashed"
    assert strict.last(str(model)).ground == "hashed"
    assert ask(memo, model)[1] == "stat"


def test_a_file_that_changed_less_than_two_seconds_ago_is_read_again_next_time(memo, model):
    data = model.read_bytes()
    assert ask(memo, model)[1] == "hashed"
    assert ask(memo, model) == (sha256(data), "xxh3", len(data))


@pytest.mark.slow
def test_a_file_at_rest_for_two_seconds_is_trusted(memo, model):
    settle_in_every_process()
    ask(memo, model)
    assert ask(memo, model)[1:] == ("stat", 0)


def test_a_digest_in_full_ignores_what_is_recorded(memo, model, settled):
    ask(memo, model)
    reads = Reads()
    assert memo.digests_in_full([str(model)], reads)[0].how == "hashed"
    assert reads.bytes == model.stat().st_size


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_to_a_known_file_is_not_hashed_again(memo, model, settled, tmp_path, link):
    other = tmp_path / "other name.gguf"
    if link is os.link:
        link(model, other)
    ask(memo, model)
    if link is os.symlink:
        link(model, other)
    assert ask(memo, other) == (sha256(model.read_bytes()), "stat", 0)


def test_a_name_that_is_not_utf8(memo, tmp_path, settled):
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff\n.gguf"))
    with open(path, "wb") as file:
        file.write(b"x")
    ask(memo, path)
    assert ask(memo, path) == (sha256(b"x"), "stat", 0)


def test_an_empty_file_has_a_digest(memo, tmp_path, settled):
    path = tmp_path / "empty"
    path.touch()
    assert ask(memo, path) == (sha256(b""), "hashed", 0)
    age(path)
    assert ask(memo, path)[1] == "xxh3"


def test_the_memo_is_shared_by_processes(memo, model, settled, tmp_path):
    ask(memo, model)
    assert ask(Memo(str(tmp_path / "state")), model)[1] == "stat"
    if (child := os.fork()) == 0:
        os._exit(memo.known(str(model)) is None)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_that_ask_for_one_file_hash_it_once(memo, model, settled):
    ways = []
    threads = [threading.Thread(target=lambda: ways.append(ask(memo, model)[1])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ways) == ["hashed"] + ["stat"] * 7


# ---- a file that changes while it is read


def test_however_many_models_are_read_no_more_files_are_open_than_there_are_turns(memo, tmp_path, monkeypatch, settled):
    monkeypatch.setattr(memo_module, "BUFFER", 8)  # all of these files are large
    monkeypatch.setattr(memo_module, "core_count", lambda: 8)
    monkeypatch.setattr(memo_module, "_turns", threading.BoundedSemaphore(3))
    reading, most, lock = set(), [], threading.Lock()

    def hash_both(fd, *rest, real=memo_module.hash_both):
        with lock:
            reading.add(fd)
            most.append(len(reading))
        time.sleep(0.01)
        found = real(fd, *rest)
        with lock:
            reading.remove(fd)
        return found

    monkeypatch.setattr(memo_module, "hash_both", hash_both)
    models = [[str(tmp_path / f"{model}-{file}") for file in range(8)] for model in range(3)]
    for path in (path for paths in models for path in paths):
        Path(path).write_text(path)
    found = {}
    threads = [
        threading.Thread(target=lambda paths=paths: found.update(zip(paths, memo.digests(paths)))) for paths in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path: each.sha256 for path, each in found.items()} == {path: sha256(path.encode()) for path in found}
    assert len(found) == 24 and max(most) == 3


def test_a_file_that_changes_once_while_it_is_read_is_read_again(memo, model):
    changes = [b"new bytes"]

    def progress(_):
        if changes:
            model.write_bytes(changes.pop())

    assert digest(memo, model, progress).sha256 == sha256(b"new bytes")


def test_a_file_that_keeps_changing_is_an_error(memo, model):
    with pytest.raises(ChangingModelError) as caught:
        digest(memo, model, lambda _: model.write_bytes(os.urandom(10)))
    assert str(caught.value) == (
        "the file keeps changing while it is read\n"
        f"  where     {model}\n"
        "  expected  a file at rest\n"
        "  found     other bytes or times after each of 3 readings\n"
        "  fix       wait until what writes it has ended, then run again"
    )
    assert memo.last(str(model)) is None


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(memo, model, tmp_path):
    new = tmp_path / "new"
    new.write_bytes(b"other")

    def progress(_):
        if new.exists():
            new.rename(model)

    assert digest(memo, model, progress).sha256 == sha256(b"other")


def test_a_store_through_a_shared_mapping_of_a_dirty_page_is_seen(memo, model, settled):
    with open(model, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0:1] = b"1"  # the page is dirty from here on
        ask(memo, model)
        time.sleep(0.05)
        mapping[0:1] = b"2"
        mapping.flush()
    assert ask(memo, model)[0] == sha256(model.read_bytes())


# ---- power cuts: what is read is on the disk, and no row says what it held before


@pytest.fixture
def order(monkeypatch):
    """What is done to the files of models: `sync` and `read`, with their names, and what is asked at each sync."""
    found = []

    def name_of(fd):
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

    def noting(what, real):
        def note(fd, *rest):
            if name_of(fd).endswith(".gguf"):
                found.append((what, name_of(fd)))
            return real(fd, *rest)

        return note

    for name, what in (
        ("fsync", "sync"),
        ("fdatasync", "sync of the bytes alone"),
        ("pread", "read"),
        ("preadv", "read"),
    ):
        monkeypatch.setattr(os, name, noting(what, getattr(os, name)))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors have no names here")
@pytest.mark.parametrize("ask", [Memo.digests, Memo.digests_in_full])
def test_each_file_is_synced_before_its_reading_begins(memo, tmp_path, settled, order, ask):
    paths = [tmp_path / f"{number}.gguf" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number * 3 << 20))
    ask(memo, [str(path) for path in paths])
    for path in paths:
        mine = [what for what, name in order if name == path.name]
        assert mine[:2] == ["sync", "read"]
        assert set(mine) == {"sync", "read"}


@pytest.mark.parametrize("ask", [Memo.digests, Memo.digests_in_full])
@pytest.mark.parametrize("linked", [False, True])
def test_no_row_vouches_for_a_file_that_moved_when_it_is_synced(
    memo, model, settled, tmp_path, monkeypatch, ask, linked
):
    """A cut in the middle of the sync may keep the new bytes and lose the new times."""
    other = tmp_path / "link.gguf"
    os.link(model, other)
    memo.digests([str(model), str(other)])
    before = identity(os.stat(model))
    with open(model, "r+b") as file:
        file.write(b"others!")
    seen = []

    def fsync(fd, real=os.fsync):
        fresh = Memo(str(tmp_path / "state"))
        rows = [fresh.last(str(path)) for path in (model, other)]
        seen.append([row.settled for row in rows if row is not None and row.identity == before])
        fresh.close()
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    ask(memo, [str(other if linked else model)])
    assert len(seen) == 1
    assert not any(seen[0])


def test_a_file_that_did_not_move_keeps_its_row_through_a_reading_in_full(memo, model, settled):
    ask(memo, model)
    memo.unsettle([str(model)])
    assert memo.known(str(model)).how == "stat"


def test_a_file_that_the_disk_does_not_take_is_an_error(memo, model, monkeypatch):
    """Its bytes are in memory alone: they are read as they should be, and are others after the next start."""

    def fsync(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UnreadableModelError) as caught:
        digest(memo, model)
    assert caught.value.found == "Input/output error"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_nothing_is_to_be_synced_a_file_is_read_all_the_same(memo, model, monkeypatch, number):
    def fsync(fd, real=os.fsync):
        if os.path.samestat(os.fstat(fd), model.stat()):
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    assert digest(memo, model).how == "hashed"


# ---- what can't be read


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "device"])
def test_what_is_no_regular_file_is_an_error_and_never_waited_for(memo, tmp_path, kind):
    path = tmp_path / "x.gguf"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = "/dev/null"
    with pytest.raises(UnreadableModelError):
        digest(memo, path)


# ---- the memo's own file: it costs time, never truth


def spoil_delete(path):
    path.unlink()


def spoil_truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def spoil_garbage(path):
    path.write_bytes(b"no database" * 1000)


def spoil_version(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()


def spoil_foreign(path):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def spoil_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [spoil_delete, spoil_truncate, spoil_garbage, spoil_version, spoil_foreign, spoil_folder],
    ids=lambda spoil: spoil.__name__.removeprefix("spoil_"),
)
def test_a_spoiled_memo_costs_time_never_truth(model, settled, tmp_path, spoil):
    ask_in_a_process_of_its_own(tmp_path / "state", model)
    spoil(tmp_path / "state" / "memo.db")
    fresh = Memo(str(tmp_path / "state"))
    assert ask(fresh, model)[:2] == (sha256(model.read_bytes()), "hashed")
    if spoil is not spoil_folder:
        assert ask(Memo(str(tmp_path / "state")), model)[1] == "stat"


@pytest.mark.parametrize(
    ("together", "digits"), [(1, 4), (OWN_LOCKS, 4), (OWN_LOCKS + 1, 2)], ids=["one", "some", "many"]
)
def test_a_large_file_has_a_lock_that_hardly_any_other_has_unless_many_are_asked_for(memo, tmp_path, together, digits):
    """Of sixteen that are read at a time two would have the same of 256 in one case of three, and one would wait."""
    paths = []
    for number in range(OWN_LOCKS + 1):
        with open(tmp_path / f"large{number}", "wb") as file:
            file.truncate(BUFFER + 1)
        paths.append(file.name)
    for first in range(0, len(paths), together):
        memo.digests(paths[first : first + together])
    locks = os.listdir(tmp_path / "state/locks/hash")
    assert {len(name) for name in locks} == {digits}
    assert digits == 2 or len(locks) >= len(paths) - 1


@pytest.mark.slow
def test_a_locked_memo_costs_time_never_truth(model, settled, tmp_path):
    ask_in_a_process_of_its_own(tmp_path / "state", model)
    holder = sqlite3.connect(tmp_path / "state" / "memo.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    other = model.with_name("other")
    other.write_bytes(b"other")
    assert ask(Memo(str(tmp_path / "state")), other)[:2] == (sha256(b"other"), "hashed")
    holder.close()


@pytest.mark.slow
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["touch", "rewrite", "same", "grow", "replace", "forget"]), max_size=12))
def test_the_short_way_equals_the_long_way(tmp_path, settled, changes):
    """Whatever happens to a file, the memo says what a plain SHA-256 says."""
    path = tmp_path / "model"
    path.write_bytes(b"0" * 100)
    memo = Memo(str(tmp_path / "state"))
    for number, change in enumerate(changes):
        if change == "touch":
            os.utime(path, ns=(number, number))
        elif change == "rewrite":
            path.write_bytes(bytes([number]) * 100)
        elif change == "same":
            path.write_bytes(path.read_bytes())
        elif change == "grow":
            path.write_bytes(path.read_bytes() + b"x")
        elif change == "replace":
            (tmp_path / "new").write_bytes(bytes([number]) * 100)
            (tmp_path / "new").rename(path)
        else:
            (tmp_path / "state" / "memo.db").unlink(missing_ok=True)
            memo = Memo(str(tmp_path / "state"))
        assert digest(memo, path).sha256 == sha256(path.read_bytes())


def test_a_file_that_is_replaced_after_it_was_opened_is_read_again(memo, model, tmp_path, monkeypatch):
    """The open file is as it was; the path is another's."""
    other = tmp_path / "other"
    other.write_bytes(b"other bytes")

    def replacing(path, real=memo_module.open_model):
        fd = real(path)
        if other.exists():
            os.replace(other, path)
        return fd

    monkeypatch.setattr(memo_module, "open_model", replacing)
    assert digest(memo, model).sha256 == sha256(b"other bytes")


def test_what_a_reading_in_full_found_holds_for_every_name_of_the_file(tmp_path):
    """As bytes that a disk changed: a row has all that a stat call tells, and another digest."""
    (tmp_path / "one").write_bytes(b"x")
    os.link(tmp_path / "one", tmp_path / "two")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    memo = Memo(str(tmp_path / "state"))
    wrong = Row(identity(os.stat(one)), None, "0" * 64, "hashed", settled=True)
    memo.keep({one: wrong, two: wrong})
    memo.load([one, two])
    assert memo.known(two).sha256 == "0" * 64
    (found,) = memo.digests_in_full([one])
    assert memo.last(two) is None
    assert memo.last(one).sha256 == found.sha256


# ---- batches: rows are loaded once and recorded once


@pytest.fixture
def statements(memo, monkeypatch):
    """Every statement that the memo's database executes, after it was opened."""
    memo.load(["/nothing"])
    found = []
    memo._database._connection.set_trace_callback(lambda sql: found.append(sql.split()[0]))
    return found


def test_a_batch_is_loaded_by_two_statements_and_recorded_in_one_transaction(memo, tmp_path, settled, statements):
    paths = [str(tmp_path / f"{number}.gguf") for number in range(100)]
    for path in paths:
        with open(path, "w") as file:
            file.write(path)
    memo.load(paths)
    assert [memo.known(path) for path in paths] == [None] * 100
    assert statements == ["SELECT", "SELECT"]  # by path, then by inode: a link has no row of its own
    statements.clear()
    memo.digests(paths)
    assert statements == ["SELECT", "SELECT", "BEGIN", *["REPLACE"] * 100, "COMMIT"]
    statements.clear()
    assert {memo.known(path).how for path in paths} == {"stat"}
    assert statements == []
    memo.load(paths)
    assert statements == []
    memo.load_again(paths)
    assert {memo.known(path).how for path in paths} == {"stat"}
    assert statements == ["SELECT"]


def test_a_batch_of_moved_files_is_asked_for_by_two_statements(memo, tmp_path, settled, statements):
    paths = [str(tmp_path / f"{number}.gguf") for number in range(100)]
    for path in paths:
        with open(path, "w") as file:
            file.write(path)
    memo.digests(paths)
    for path in paths:
        age(path)
    statements.clear()
    memo.load_again(paths)
    assert [memo.known(path) for path in paths] == [None] * 100
    assert statements == ["SELECT", "SELECT"]
    statements.clear()
    assert {each.how for each in memo.digests(paths)} == {"xxh3"}
    assert statements.count("SELECT") == 4  # under the lock, and once more for what no row vouches for any more


def test_rows_that_are_loaded_again_are_those_of_the_database_now(memo, model, settled, tmp_path):
    memo.load([str(model)])
    ask(Memo(str(tmp_path / "state")), model)
    assert memo.known(str(model)) is None
    memo.load([str(model)])
    assert memo.known(str(model)) is None
    memo.load_again([str(model)])
    assert memo.known(str(model)).how == "stat"


def test_a_loaded_row_that_is_missing_is_asked_for_again_before_the_file_is_read(memo, model, settled, tmp_path):
    memo.load([str(model)])
    ask(Memo(str(tmp_path / "state")), model)
    assert ask(memo, model)[1:] == ("stat", 0)
