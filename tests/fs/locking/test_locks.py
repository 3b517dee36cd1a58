"""One lock helper: what is waited for, what is only tried, and a file system that keeps no locks."""

import errno
import fcntl
import os
import threading
from contextlib import ExitStack
import time

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.fs.locking.locks import NoLocksError, lock, locked, locked_folder, open_locked, try_lock
from model_provisioner.fs.folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder.at(str(tmp_path))


@pytest.fixture
def opened(tmp_path):
    """Open one file several times; each has a lock of its own."""
    (tmp_path / "x").touch()
    fds = [os.open(tmp_path / "x", os.O_RDWR) for _ in range(3)]
    yield fds
    for fd in fds:
        os.close(fd)


def test_one_has_it_or_several_share_it(opened):
    first, second, third = opened
    assert try_lock(first)
    assert not try_lock(second)
    assert not try_lock(second, shared=True)
    assert try_lock(first, shared=True)
    assert try_lock(second, shared=True)
    assert not try_lock(third)


def test_who_waits_is_called_until_it_is_free(opened):
    first, second, _ = opened
    lock(first, "x")
    called = []

    def waiting():
        called.append(len(called))
        if len(called) == 2:
            fcntl.flock(first, fcntl.LOCK_UN)

    lock(second, "x", waiting=waiting)
    assert called == [0, 1]


def test_who_waits_may_give_up(opened):
    first, second, _ = opened
    lock(first, "x")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lock(second, "x", waiting=stop)


def test_a_file_that_lost_its_name_while_it_was_waited_for_is_not_the_one(tmp_path, folder):
    old = open_locked(folder, "x", os.O_RDWR | os.O_CREAT)
    found = []
    thread = threading.Thread(target=lambda: found.append(open_locked(folder, "x", os.O_RDWR | os.O_CREAT)))
    thread.start()
    time.sleep(0.1)
    folder.rename("x", folder, "away")
    os.close(old)
    thread.join()
    assert os.path.samestat(os.fstat(found[0]), os.stat(tmp_path / "x"))
    os.close(found[0])


def test_the_lock_of_a_folder_is_one_for_each_who_takes_it(folder):
    """The held descriptor is shared by threads: by that, all of them would have it."""
    with locked_folder(folder, shared=True), locked_folder(folder, shared=True):
        fd = os.open(folder.path, os.O_RDONLY)
        assert not try_lock(fd)
    assert try_lock(fd)
    os.close(fd)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_says_so_in_one_way(opened, folder, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for act in (
        lambda: lock(opened[0], "x"),
        lambda: try_lock(opened[0]),
        lambda: open_locked(folder, "x", os.O_RDWR, waiting=pytest.fail),
        lambda: locked_folder(folder).__enter__(),
    ):
        with pytest.raises(NoLocksError):
            act()
    with pytest.raises(StorageError) as caught, locked(folder.path, "hash", "key"):
        pass
    assert caught.value.what == "a lock can't be made in the state folder"


def test_any_other_trouble_is_no_lack_of_locks():
    with pytest.raises(OSError) as caught:
        try_lock(10**6)
    assert caught.value.errno == errno.EBADF
    assert not isinstance(caught.value, NoLocksError)


def test_keys_are_locked_in_one_order_and_freed_together(tmp_path):
    state, order = str(tmp_path), []

    def work(keys):
        for _ in range(50):
            with locked(state, "hash", *keys):
                order.append(keys)

    keys = [f"{number}" for number in range(20)]
    threads = [threading.Thread(target=work, args=(some,), daemon=True) for some in (keys, keys[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert len(order) == 100


def test_a_lock_is_held_by_one_at_a_time_and_freed_by_death(tmp_path):
    inside = []
    overlaps = []

    def work():
        for _ in range(30):
            with locked(str(tmp_path), "hash", "/x"):
                inside.append(1)
                overlaps.append(len(inside))
                inside.pop()

    if (child := os.fork()) == 0:
        with locked(str(tmp_path), "hash", "/x"):
            os.kill(os.getpid(), 9)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(child, 0)
    assert overlaps == [1] * 120


def test_there_are_few_lock_files_however_many_keys(tmp_path):
    for number in range(1000):
        with locked(str(tmp_path), "hash", str(number)):
            pass
    assert len(os.listdir(tmp_path / "locks" / "hash")) <= 256


def test_keys_with_longer_numbers_hardly_ever_wait_for_each_other(tmp_path):
    with ExitStack() as held:
        for number in range(100):
            held.enter_context(locked(str(tmp_path), "hash", str(number), size=2))
    assert len(os.listdir(tmp_path / "locks" / "hash")) == 100
