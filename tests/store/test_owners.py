"""Whether an owner lives: by the lock at once where it reaches us, by ten minutes without a renewal where it does not."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from model_provisioner.store import owners
from model_provisioner.store.owners import Witness, reach_in
from model_provisioner.store.store import Store

OTHER = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


@pytest.fixture
def clock(monkeypatch):
    """The seconds of this host's clock."""
    clock = [1000.0]
    monkeypatch.setattr(owners, "_clock", lambda: clock[0])
    return clock


@pytest.fixture
def owned(store):
    """Return a function that opens a file with a name."""
    fds = []

    def opened(name):
        fds.append(os.open(os.path.join(store.folder("leases").path, name), os.O_RDWR | os.O_CREAT))
        return fds[-1]

    yield opened
    for fd in fds:
        os.close(fd)


def lives(store, state, name, fd):
    """Look once, as a command does that ends then."""
    witness = Witness(store, str(state))
    found = witness.lives(name, fd)
    witness.remember()
    return found


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        (f"local.{'a' * 64}.{'b' * 16}", "local"),
        (f"{OTHER}.{'a' * 32}", OTHER),
        (f"{'a' * 64}.{'b' * 16}", "local"),  # a download of a version before
        ("a" * 32, "local"),  # and a lease of one
        ("draft.0123", "local"),
    ],
)
def test_the_name_begins_with_the_reach(name, reach):
    assert reach_in(name) == reach


def test_here_the_lock_says_it_at_once(store, tmp_path, owned, clock):
    assert not lives(store, tmp_path, "local.a", owned("local.a"))
    fcntl.flock(owned("local.b"), fcntl.LOCK_EX)
    clock[0] += 10_000
    assert lives(store, tmp_path, "local.b", owned("local.b"))
    assert not (tmp_path / "witness").exists()


def test_elsewhere_ten_minutes_without_a_renewal_say_it_whatever_the_lock(store, tmp_path, owned, clock):
    name = f"{OTHER}.a"
    fd, look = owned(name), owned(name)
    assert lives(store, tmp_path, name, look)
    clock[0] += 599
    assert lives(store, tmp_path, name, look)
    fcntl.flock(fd, fcntl.LOCK_EX)  # a server may keep the lock of a host that is gone
    clock[0] += 1
    assert not lives(store, tmp_path, name, look)
    os.utime(fd)
    assert lives(store, tmp_path, name, look)
    clock[0] += 599
    assert lives(store, tmp_path, name, look)


def test_a_file_that_grew_was_renewed(store, tmp_path, owned, clock):
    name = f"{OTHER}.a"
    fd = owned(name)
    os.utime(fd, (1e9, 1e9))
    assert lives(store, tmp_path, name, fd)
    clock[0] += 600
    os.write(fd, b"x")
    os.utime(fd, (1e9, 1e9))
    assert lives(store, tmp_path, name, fd)


def test_one_look_is_never_enough(store, tmp_path, owned, clock):
    fd = owned(f"{OTHER}.a")
    os.utime(fd, (1e9, 1e9))  # its clock may be anywhere
    assert lives(store, tmp_path, f"{OTHER}.a", fd)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(b'{"boot": null, "seen": {}}'),
        lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another start"})),
        lambda path: path.write_text(path.read_text().replace("1000.0", "99000.0")),
    ],
    ids=["gone", "torn", "of another machine", "of another start", "of the future"],
)
def test_who_remembers_nothing_begins_anew(store, tmp_path, owned, clock, harm):
    name = f"{OTHER}.a"
    fd = owned(name)
    assert lives(store, tmp_path, name, fd)
    harm(*tmp_path.glob("witness/*.json"))
    clock[0] += 10_000
    assert lives(store, tmp_path, name, fd)
    clock[0] += 600
    assert not lives(store, tmp_path, name, fd)


def test_what_is_gone_is_forgotten(store, tmp_path, owned, clock):
    lives(store, tmp_path, f"{OTHER}.a", owned(f"{OTHER}.a"))
    lives(store, tmp_path, f"{OTHER}.b", owned(f"{OTHER}.b"))
    (path,) = tmp_path.glob("witness/*.json")
    assert json.loads(path.read_text())["seen"].keys() == {f"{OTHER}.b"}


def test_where_nothing_can_be_remembered_the_others_live_on(store, tmp_path, owned, clock):
    Path(tmp_path / "file").write_bytes(b"")
    fd = owned(f"{OTHER}.a")
    for _ in range(3):
        assert lives(store, tmp_path / "file" / "state", f"{OTHER}.a", fd)
        clock[0] += 600
