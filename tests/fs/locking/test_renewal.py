"""Files of living owners are renewed, by a thread that ends with the last of them."""

import os
import threading
import time

import pytest

from model_provisioner.fs.locking import renewal
from model_provisioner.fs.locking.renewal import Renewal
from tests.support.remote import wait_until


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    assert renewal.EVERY_S == 30
    monkeypatch.setattr(renewal, "EVERY_S", 0.01)


@pytest.fixture
def files(tmp_path):
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in "ab"]
    yield fds
    for fd in fds:
        os.close(fd)


def is_renewed(fd):
    os.utime(fd, (1e9, 1e9))
    try:
        wait_until(lambda: os.fstat(fd).st_mtime > 1e9, 0.5)
    except AssertionError:
        return False
    return True


def test_each_is_renewed_until_its_end(files):
    one, other = files
    renewing, before = Renewal(), threading.active_count()
    renewing.begin(one)
    renewing.begin(other)
    assert threading.active_count() == before + 1
    assert is_renewed(one)
    assert is_renewed(other)
    renewing.end(one)
    assert is_renewed(other)
    assert not is_renewed(one)
    renewing.end(other)
    assert threading.active_count() == before
    assert not is_renewed(other)
    renewing.end(other)  # twice is once
    renewing.begin(other)
    assert is_renewed(other)
    renewing.end(other)


def test_one_that_can_not_be_renewed_keeps_no_other_from_it(files, tmp_path):
    renewing = Renewal()
    closed = os.open(tmp_path / "c", os.O_RDWR | os.O_CREAT)
    for fd in (closed, files[0]):
        renewing.begin(fd)
    os.close(closed)
    assert is_renewed(files[0])
    for fd in (closed, files[0]):
        renewing.end(fd)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside a thread, which is what is tested
def test_a_forked_child_renews_its_own_files_only(files, tmp_path):
    from model_provisioner.fs.locking.renewal import RENEWAL

    inherited, mine = files
    RENEWAL.begin(inherited)
    pid = os.fork()
    if not pid:
        try:
            os.close(inherited)
            fd = os.open(tmp_path / "an other", os.O_RDWR | os.O_CREAT)  # it gets the number of the parent's
            begun = RENEWAL._files == set() and not is_renewed(fd)
            RENEWAL.begin(mine)
            begun = begun and is_renewed(mine)
            RENEWAL.end(mine)
            os._exit(0 if begun else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert is_renewed(inherited)
    RENEWAL.end(inherited)


def test_the_end_waits_for_no_renewal(files, monkeypatch):
    monkeypatch.setattr(renewal, "EVERY_S", 30)
    renewing, began = Renewal(), time.monotonic()
    renewing.begin(files[0])
    renewing.end(files[0])
    assert time.monotonic() - began < 5
