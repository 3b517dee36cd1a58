"""Leases: what living runs use, and nothing of what dead ones used."""

import os
import subprocess
import sys
import threading

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.store import lease as lease_module
from model_provisioner.store.lease import FOLDER, Lease, Leased, alone, leased
from model_provisioner.store.owners import Witness
from model_provisioner.store.layout import stem_of
from model_provisioner.store.store import Store

A, B = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


@pytest.fixture
def witness(store, tmp_path):
    return Witness(store, str(tmp_path / "state"))


@pytest.fixture
def lease(store):
    lease = Lease(store)
    yield lease
    lease.close()


def test_nothing_is_made_before_something_is_noted(store, lease, witness):
    lease.use([])
    lease.expect_no_more(["k"])
    assert leased(store, witness) == Leased()
    assert not os.path.exists(store.root)


def test_a_use_is_new_once(store, lease, witness):
    assert lease.use([A])
    assert not lease.use([A])
    assert lease.use([A, B])
    assert leased(store, witness).blobs == {A, B}
    assert len(os.listdir(os.path.join(store.root, FOLDER))) == 1


def test_what_was_given_back_is_not_used(store, lease, witness):
    lease.use([A])
    lease.close()
    assert leased(store, witness) == Leased()
    assert os.listdir(os.path.join(store.root, FOLDER)) == []
    assert lease.use([A])  # it may be gone by now


def test_what_is_expected_counts_once_for_all_that_wait_for_it(store, lease, witness):
    other = Lease(store)
    with alone(store, witness) as before:
        assert before == Leased()
        lease.expect({"k": 10, "l": 5})
        other.expect({"k": 12})
    assert leased(store, witness).expected == {stem_of("k"): 12, stem_of("l"): 5}
    other.expect_no_more(["k"])
    lease.expect_no_more(["l"])
    assert leased(store, witness).expected == {stem_of("k"): 10}
    other.close()


def test_a_line_that_is_being_written_and_one_of_another_version_say_nothing(store, lease, witness):
    lease.use([A])
    (name,) = os.listdir(os.path.join(store.root, FOLDER))
    with open(os.path.join(store.root, FOLDER, name), "ab") as file:
        file.write(f"eats {B}\nuses {B[:10]}\n\xff\nuses {B}".encode("latin-1"))
    assert leased(store, witness) == Leased(blobs={A})


@pytest.mark.parametrize("name", ["a folder", "a link", "empty"])
def test_what_is_no_lease_says_nothing(store, lease, name, witness):
    folder = store.folder(FOLDER).path
    path = os.path.join(folder, name)
    {"a folder": os.mkdir, "a link": lambda it: os.symlink("/dev/zero", it), "empty": lambda it: open(it, "x").close()}[
        name
    ](path)
    lease.use([A])
    assert leased(store, witness) == Leased(blobs={A})


def test_a_killed_owner_uses_nothing(store, witness):
    program = "import os, sys\nfrom model_provisioner.store.lease import Lease\n"
    program += "from model_provisioner.store.store import Store\n"
    program += "Lease(Store(sys.argv[1])).use(['a' * 64]); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, store.root], **pipes) as owner:
        owner.stdout.readline()
        assert leased(store, witness).blobs == {A}
        owner.kill()
        owner.wait()
        assert leased(store, witness) == Leased()
        assert len(os.listdir(os.path.join(store.root, FOLDER))) == 1
    for name in os.listdir(os.path.join(store.root, FOLDER)):
        os.utime(os.path.join(store.root, FOLDER, name), (1e9, 1e9))
    Store(store.root).folder(FOLDER)
    assert os.listdir(os.path.join(store.root, FOLDER)) == []


def test_nobody_notes_a_use_while_somebody_is_alone(store, lease, witness):
    noted = threading.Event()
    thread = threading.Thread(target=lambda: (lease.use([A]), noted.set()))
    with alone(store, witness):
        thread.start()
        assert not noted.wait(0.2)
        assert leased(store, witness) == Leased()
    thread.join(10)
    assert leased(store, witness).blobs == {A}


def test_a_store_that_can_not_be_made_is_used_without_a_lease(tmp_path):
    (tmp_path / "cache").write_text("a file")
    lease = Lease(Store(str(tmp_path / "cache")))
    assert lease.use([A])
    lease.close()


def test_a_lease_that_can_not_be_read_is_told(store, lease, witness, monkeypatch):
    """It may be of anybody, who uses anything."""
    lease.use([A])
    monkeypatch.setattr(lease_module, "LIMIT", 10)
    with pytest.raises(StorageError, match="a lease can't be read, so nothing may be evicted"):
        leased(store, witness)


def test_a_lease_of_another_host_counts_for_what_it_says(store, lease, witness):
    """Its lock says nothing here: it may be one that we don't see."""
    lease.use([A])
    folder = store.folder(FOLDER)
    (name,) = folder.names()
    with open(folder.path_of("0123456789abcdef.0"), "w") as other:
        other.write(f"uses {B}\nexpects {stem_of('k')} 7\n")
    assert name.startswith("local.")
    assert leased(store, witness) == Leased(blobs={A}, elsewhere={B}, expected={stem_of("k"): 7})
