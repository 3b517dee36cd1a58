"""What is on its way: owners that die, versions that change, and digests taken while it is written."""

import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_provisioner.hashing import follower as follow
from model_provisioner.store.arriving import partial as module
from model_provisioner.store.single_flight import single_flight
from model_provisioner.hashing.fingerprint import FingerprintKey
from model_provisioner.hashing.streaming import fingerprint, open_model
from model_provisioner.store.arriving.left import arrived
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.store import Store

from tests.support.examples import examples
from model_provisioner.errors import StorageError


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def left(store):
    return sorted(os.listdir(f"{store.root}/partial"))


def test_what_arrived_has_the_digests_of_its_bytes(store):
    data = os.urandom(3_000_001)
    key = FingerprintKey.drawn()
    with Partial.open(store, "a", git_size=len(data), fingerprints=key) as partial:
        assert (partial.size, partial.validator) == (0, None)
        partial.begin('"v1"')
        for at in range(0, len(data), 1 << 20):
            partial.write(data[at : at + (1 << 20)])
        found = partial.finish()
        assert found == partial.finish()
        fd = open_model(partial.path)
        assert found.fingerprint == fingerprint(fd, key, lambda _: None)
        os.close(fd)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.git_blob == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert found.size == len(data)


@pytest.mark.parametrize(("size", "blob"), [(0, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), (1, None), (None, None)])
def test_nothing_has_digests_too(store, size, blob):
    with Partial.open(store, "a", git_size=size) as partial:
        partial.begin(None)
        found = partial.finish()
    assert found.sha256 == hashlib.sha256().hexdigest()
    assert found.git_blob == blob
    assert left(store) == []


def test_who_comes_next_goes_on(store):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"one ")
    with Partial.open(store, "another") as partial:
        assert partial.size == 0
    with Partial.open(store, "a", git_size=7) as partial:
        assert (partial.size, partial.validator) == (4, '"v1"')
        partial.begin('"v1"')
        assert partial.size == 4
        partial.write(b"two")
        found = partial.finish()
        assert found.sha256 == hashlib.sha256(b"one two").hexdigest()
        assert found.git_blob == hashlib.sha1(b"blob 7\0one two").hexdigest()
        partial.discard()
    assert left(store) == []


@pytest.mark.parametrize(("first", "second"), [('"v1"', '"v2"'), ('"v1"', None), (None, None), (None, '"v1"')])
def test_bytes_of_another_version_are_dropped(store, first, second):
    with Partial.open(store, "a") as partial:
        partial.begin(first)
        partial.write(b"a long one")
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (10, first)
        partial.begin(second)
        assert (partial.size, partial.validator) == (0, second)
        partial.write(b"new")
        partial.begin('"v3"')
        partial.write(b"newer")
        assert partial.finish().sha256 == hashlib.sha256(b"newer").hexdigest()


@pytest.mark.parametrize("total", [9, None])
def test_bytes_of_the_same_version_with_another_length_are_dropped(store, total):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"', 10)
        partial.write(b"one ")
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator, partial.total) == (4, '"v1"', 10)
        partial.begin('"v1"', 10)
        assert partial.size == 4
        partial.begin('"v1"', total)
        assert (partial.size, partial.total) == (0, total)


def test_what_came_for_a_request_is_known_to_whoever_makes_it_again(store):
    with Partial.open(store, "a", request=b"mine") as partial:
        partial.begin(None, 4)
        assert not partial.is_for_request
        partial.write(b"here")
        assert partial.is_for_request
    with Partial.open(store, "a") as partial:
        assert not partial.is_for_request
    with Partial.open(store, "a", request=b"mine") as partial:
        assert (partial.size, partial.total, partial.is_for_request) == (4, 4, True)


def test_what_came_for_another_request_is_not_taken_for_it_before_its_server_says_so(store):
    with Partial.open(store, "a", request=b"mine") as partial:
        partial.begin('"v1"', 8)
        partial.write(b"half")
        abandon(partial)  # nothing is synced, so that the next owner does that
    with Partial.open(store, "a", request=b"another") as partial:
        assert not partial.is_for_request
    with Partial.open(store, "a", request=b"another") as partial:
        assert not partial.is_for_request
        partial.begin('"v1"', 8)
        assert partial.is_for_request
        partial.write(b"more")
    with Partial.open(store, "a", request=b"another") as partial:
        assert (partial.size, partial.is_for_request) == (8, True)


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"validator": 7}', b'{"validator": "\\"v1\\"", "synced": true}', b"\xff", None]
)
def test_bytes_of_nobody_knows_what_are_dropped(store, note):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"old")
    if note is None:
        os.unlink(f"{partial.path}.json")
    else:
        with open(f"{partial.path}.json", "wb") as file:
            file.write(note)
    with Partial.open(store, "a") as partial:
        assert partial.validator is None
        partial.begin('"v1"')
        assert partial.size == 0


def test_after_a_power_cut_only_what_was_synced_is_believed(store, monkeypatch):
    monkeypatch.setattr(module, "SYNCED_EVERY", 100)
    owner = Partial.open(store, "a")
    owner.begin('"v1"')
    owner.write(bytes(60))
    owner.write(bytes(60))
    owner.write(b"lost")
    abandon(owner)
    assert json.loads(Path(f"{owner.path}.json").read_text())["synced"] == 120
    with Partial.open(store, "a") as partial:
        assert partial.size == 124, "a kill loses nothing"
        abandon(partial)
    monkeypatch.setattr(module, "boot_id", lambda: "the next start")
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (120, '"v1"')
        partial.begin('"v1"')
        partial.write(b"again")
        assert partial.finish().sha256 == hashlib.sha256(bytes(120) + b"again").hexdigest()


def test_what_was_let_go_in_order_survives_a_power_cut(store, monkeypatch):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"half")
    monkeypatch.setattr(module, "boot_id", lambda: "the next start")
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (4, '"v1"')
        partial.begin('"v2"')
        partial.write(b"other bytes")
        abandon(partial)
    monkeypatch.setattr(module, "boot_id", lambda: "the one after")
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (0, None)
    assert left(store) == []


def abandon(partial):
    """Let it go as a kill does: nothing is synced or noted."""
    partial._close()


def test_an_owner_who_lives_is_left_alone(store):
    with Partial.open(store, "a") as first, Partial.open(store, "a") as second:
        first.begin('"v1"')
        first.write(b"first")
        second.begin('"v1"')
        second.write(b"2nd")
        assert first.path != second.path
        assert arrived(store, "a") == 5
        assert first.finish().size == 5
        assert second.finish().size == 3
    with Partial.open(store, "a") as third:
        assert third.path == first.path, "the longest is gone on with"
        assert len(left(store)) == 2, "the other one is removed"


def test_what_a_killed_owner_left_is_gone_on_with(store):
    program = (
        "import sys, time\n"
        "from model_provisioner.store.arriving.partial import Partial\n"
        "from model_provisioner.store.store import Store\n"
        "partial = Partial.open(Store(sys.argv[1]), 'a')\n"
        "partial.begin('\"v1\"')\n"
        "partial.write(b'half')\n"
        "print('there', flush=True)\n"
        "time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", program, store.root], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"there\n"
    with Partial.open(store, "a") as mine:
        assert mine.size == 0
    run.kill()
    run.wait()
    run.stdout.close()
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (4, '"v1"')


def test_nobody_takes_over_or_removes_what_is_out_of_reach_of_its_lock(store):
    """The lock of another host, or of another mount, may not be seen here; nor is it believed when it is free."""
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"theirs, and longer")
    name = os.path.basename(partial.path)
    theirs = f"0123456789abcdef.{name.removeprefix('local.')}"
    for suffix in ("", ".json"):
        os.rename(f"{partial.path}{suffix}", f"{store.root}/partial/{theirs}{suffix}")
    with Partial.open(store, "a") as mine:
        assert mine.size == 0
        mine.begin('"v1"')
        mine.write(b"mine")
        assert arrived(store, "a") == 18
        mine.discard()
    assert left(store) == [theirs, f"{theirs}.json"]


def test_what_a_version_before_left_is_gone_on_with(store):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"half")
    for suffix in ("", ".json"):
        os.rename(f"{partial.path}{suffix}", f"{partial.path}{suffix}".replace("/local.", "/"))
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (4, '"v1"')


def test_one_that_was_sealed_is_gone_on_with(store):
    """Its owner died between the last change of its mode and the rename."""
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"whole")
        partial.seal()
    program = (
        "import sys\n"
        "from model_provisioner.store.arriving.partial import Partial\n"
        "from model_provisioner.store.store import Store\n"
        "with Partial.open(Store(sys.argv[1]), 'a') as partial:\n"
        "    print(partial.size)\n"
        "    partial.write(b'.')"
    )
    command = [sys.executable, "-c", program, store.root]
    if os.geteuid() == 0:  # who may write whatever its mode
        os.chmod(partial.path, 0o444)
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "5\n"
    assert os.stat(partial.path).st_size == 6


def test_what_is_no_file_of_ours_is_left_alone(store, tmp_path):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"x")
    stem = partial.path.rpartition(".")[0]
    os.mkfifo(f"{stem}.fifo")
    os.mkdir(f"{stem}.folder")
    (tmp_path / "victim").write_bytes(b"precious and longer")
    os.symlink(tmp_path / "victim", f"{stem}.link")
    with Partial.open(store, "a") as again:
        assert again.path == partial.path
        again.begin(None)
    assert (tmp_path / "victim").read_bytes() == b"precious and longer"


def test_without_locks_everybody_begins_anew(store, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with Partial.open(store, "a") as partial:
            assert partial.size == 0
            partial.begin('"v1"')
            partial.write(b"x")
    assert len(left(store)) == 4


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    st.sampled_from([1, 40, 10_000]),
)
@settings(max_examples=examples(50), deadline=None)
def test_the_follower_reads_what_was_there_and_what_comes(tmp_path_factory, before, after, backlog):
    path = tmp_path_factory.mktemp("follow") / "x"
    path.write_bytes(b"".join(before))
    whole = b"".join([*before, *after])
    with pytest.MonkeyPatch.context() as patch, open(path, "r+b", buffering=0) as file:
        patch.setattr(follow, "BACKLOG", backlog)
        patch.setattr(follow, "BUFFER", 7)
        follower = follow.Follower(file.fileno(), len(b"".join(before)), len(whole))
        for chunk in after:
            file.seek(0, 2)
            file.write(chunk)
            follower.add(chunk)
        sha256, _, git = follower.finish()
        follower.close()
    assert sha256 == hashlib.sha256(whole).hexdigest()
    assert git == hashlib.sha1(b"blob %d\0" % len(whole) + whole).hexdigest()


def test_memory_does_not_grow_with_the_file(store):
    """A writer that is faster than the hashing waits for it."""
    chunk = bytes(1 << 20)
    with Partial.open(store, "a") as partial:
        partial.begin(None)
        partial.write(chunk)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(200):
            partial.write(bytes(chunk[:-1]))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
        assert partial.finish().size == (1 << 20) + 200 * ((1 << 20) - 1)
        partial.discard()


def test_no_thread_and_no_descriptor_stays(store):
    store.folder("partial")  # the store keeps a few folders open
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for number in range(20):
        with Partial.open(store, "a") as partial:
            partial.begin(f"{number}")
            partial.write(b"x")
    assert threading.active_count() == threads
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_limit_of_the_file_size_is_told_and_what_came_is_kept(store):
    program = (
        "import resource, sys\n"
        "from model_provisioner.store.arriving.partial import Partial\n"
        "from model_provisioner.store.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "with Partial.open(store, 'a') as partial:\n"
        "    partial.begin('\"v1\"')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "    try:\n"
        "        for _ in range(2): partial.write(bytes(100_000))\n"
        "    except Exception as error:\n"
        "        print(str(error).replace(partial.path, 'PATH'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, store.root], check=True, capture_output=True, text=True
    ).stdout
    assert said == (
        "a download could not be written\n"
        "  where     PATH\n"
        "  expected  a file or folder that we can write\n"
        "  found     File too large\n"
        "  fix       mend that and run again\n"
    )
    with Partial.open(store, "a") as partial:
        assert (partial.size, partial.validator) == (100_000, '"v1"')


def test_a_file_that_is_cut_under_its_owner_is_told(store):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"0123456789")
    with Partial.open(store, "a") as partial:
        os.truncate(partial.path, 3)
        with pytest.raises(StorageError) as caught:
            partial.finish()
    assert caught.value.found == "the file became shorter while it was read"


def test_a_file_that_is_cut_after_it_was_hashed_is_told(store):
    with Partial.open(store, "a") as partial:
        partial.begin('"v1"')
        partial.write(b"0123456789")
        partial.finish()
        os.truncate(partial.path, 3)
        with pytest.raises(StorageError) as caught:
            partial.finish()
    assert caught.value.found == "the file became shorter while it was written"


# ---- single flight


def test_the_others_wait_and_see_it_grow(store):
    seen, order = [], []

    def wait():
        with single_flight(store, "a", seen.append):
            order.append("second")

    with single_flight(store, "a"), Partial.open(store, "a") as partial:
        thread = threading.Thread(target=wait)
        thread.start()
        partial.begin(None)
        partial.write(b"12345")
        deadline = time.monotonic() + 20
        while 5 not in seen and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
        partial.discard()
    thread.join()
    assert order == ["first", "second"]
    assert 5 in seen


def test_another_key_does_not_wait(store):
    with single_flight(store, "a"), single_flight(store, "b", pytest.fail):
        pass


def test_who_waits_may_give_up(store):
    def stop(_):
        raise KeyboardInterrupt

    def other():
        with pytest.raises(KeyboardInterrupt), single_flight(store, "a", stop):
            pytest.fail("it was not locked")
        done.append(True)

    done = []
    with single_flight(store, "a"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert done
    with single_flight(store, "a", pytest.fail):
        pass


def test_the_death_of_the_owner_frees_the_others(store):
    program = (
        "import sys, time\n"
        "from model_provisioner.store.single_flight import single_flight\n"
        "from model_provisioner.store.store import Store\n"
        "with single_flight(Store(sys.argv[1]), 'a'):\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", program, store.root], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"there\n"
    waited = []

    def kill(size):
        waited.append(size)
        run.kill()

    with single_flight(store, "a", kill):
        assert waited
    run.wait()
    run.stdout.close()


def test_without_locks_nobody_waits(store, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with single_flight(store, "a", pytest.fail), single_flight(store, "a", pytest.fail):
        pass


def test_a_folder_where_the_lock_belongs_is_told(store):
    name = hashlib.sha256(b"a").hexdigest()
    os.makedirs(f"{store.folder('locks').path}/{name}.lock")
    with pytest.raises(StorageError) as caught, single_flight(store, "a"):
        pass
    assert str(caught.value) == (
        "a lock can't be made in the store\n"
        f"  where     {store.root}/locks/{name}.lock\n"
        "  expected  a file or folder that we can write\n"
        "  found     Is a directory\n"
        "  fix       a folder has the name of this file: rename it"
    )
