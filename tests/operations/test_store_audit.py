"""The audit of a store, where who hashes, or who else uses the store, is not what it should be."""

import os
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.hashing.executors.choose import chosen
from model_provisioner.hashing.executors.uncached import UncachedThreads, hash_files_uncached
from model_provisioner.hashing.executors.tasks import Hashed, SawAnother
from model_provisioner.hashing.executors.window import Window
from model_provisioner.operations.store_audit import audit as auditing
from model_provisioner.operations.store_audit.audit import StoreAudit
from model_provisioner.operations.store_audit.found import Damaged, Gone, Unread, Whole
from model_provisioner.operations.store_audit.plan import plan
from model_provisioner.records import store_audits
from model_provisioner.records.store_audits import StoreAudits
from model_provisioner.store.store import Store
from tests.support.clusters import Dask
from tests.support.remote import sha256

BLOBS = [bytes([number]) * 1000 for number in range(6)]


@pytest.fixture
def shop(tmp_path):
    """A store of six blobs, and one user's record of its audits."""
    store = Store(str(tmp_path / "store"))
    for blob in BLOBS:
        name = sha256(blob)
        store.folder(f"blobs/sha256/{name[:2]}")
        (tmp_path / "store/blobs/sha256" / name[:2] / name).write_bytes(blob)
    (tmp_path / "state").mkdir(mode=0o700)
    audits = StoreAudits(str(tmp_path / "state"), store.root)
    shop = SimpleNamespace(store=store, audits=audits, state=str(tmp_path / "state"), events=[])
    shop.names = sorted(map(sha256, BLOBS))
    shop.path = lambda name: os.path.join(store.root, "blobs/sha256", name[:2], name)
    yield shop
    audits.close()
    store.close()


def audit(shop, reads=None, max_bytes=None):
    run = StoreAudit(shop.store, shop.state, shop.audits, reads or UncachedThreads(), shop.events.append)
    return list(run.run(plan(shop.store, shop.audits, None), max_bytes))


def due(shop):
    """Return the blobs that were never audited."""
    return [blob.sha256 for blob in shop.audits.due(0)]


class Reads:
    """Hashes in threads, and says of some files what it is told to."""

    def __init__(self, **said):
        self.said, self.before = said, lambda files: None

    def hash(self, files, progress):
        self.before(files)
        for answers in UncachedThreads().hash(files, progress):
            yield [(asked, self.said.get(os.path.basename(asked.path), answer)) for asked, answer in answers]


def test_each_blob_is_read_once_and_recorded_when_it_is_yielded(shop):
    run = StoreAudit(shop.store, shop.state, shop.audits, UncachedThreads(), shop.events.append)
    found = run.run(plan(shop.store, shop.audits, None), None)
    first = next(found)
    assert first.blob.sha256 not in due(shop)
    assert {first.blob.sha256, *(each.blob.sha256 for each in found)} == set(shop.names)
    assert due(shop) == []
    assert sum(getattr(event, "count", 0) for event in shop.events) == 6000


def test_of_many_blobs_some_are_in_memory_at_a_time(shop, monkeypatch):
    monkeypatch.setattr(auditing, "AT_ONCE", 2)
    monkeypatch.setattr(store_audits, "_PAGE", 4)
    at_once = []
    reads = Reads()
    reads.before = lambda files: at_once.append(len(files))
    assert [type(each) for each in audit(shop, reads)] == [Whole] * 6
    assert at_once == [2, 2, 2]


def test_an_audit_that_is_given_up_keeps_what_was_done(shop, monkeypatch):
    monkeypatch.setattr(auditing, "AT_ONCE", 2)
    run = StoreAudit(shop.store, shop.state, shop.audits, UncachedThreads(), shop.events.append)
    found = run.run(plan(shop.store, shop.audits, None), None)
    next(found)
    found.close()
    assert due(shop) == shop.names[2:]
    assert [each.blob.sha256 for each in audit(shop, max_bytes=4000)] == shop.names[2:]


def test_a_blob_that_is_evicted_before_it_is_read_is_no_trouble(shop):
    gone = shop.names[0]
    reads = Reads()
    reads.before = lambda files: os.unlink(shop.path(gone))
    found = {each.blob.sha256: type(each) for each in audit(shop, reads)}
    assert found == dict.fromkeys(shop.names, Whole) | {gone: Gone}
    assert shop.audits.total(2**62).blobs == 5


def test_a_blob_that_was_evicted_since_it_was_listed_is_no_trouble(shop):
    planned = plan(shop.store, shop.audits, None)
    os.unlink(shop.path(shop.names[0]))
    run = StoreAudit(shop.store, shop.state, shop.audits, UncachedThreads(), shop.events.append)
    assert [type(each) for each in run.run(planned, None) if each.blob.sha256 == shop.names[0]] == [Gone]


@pytest.mark.parametrize("rotten", [True, False])
def test_a_blob_that_is_read_as_other_bytes_each_time_stays(shop, rotten):
    """One reading says one thing, the next another: a disk or a memory is at fault, and perhaps not the blob."""
    wrong = here = shop.names[0]
    if rotten:
        here = sha256(b"rotten")
        with open(shop.path(wrong), "wb") as file:
            file.write(b"rotten")
    found = {each.blob.sha256: each for each in audit(shop, Reads(**{wrong: Hashed("f" * 64)}))}
    assert isinstance(found[wrong], Unread)
    error = found[wrong].error
    assert isinstance(error, StorageError)
    assert (error.what, error.where, error.expected, error.found, error.fix) == (
        "a blob was read twice, as other bytes each time",
        shop.path(wrong),
        f"sha256:{wrong}, each time",
        f"sha256:{'f' * 64}, then sha256:{here}",
        "it was left as it is, and the next audit reads it again: look at the disk, its cable and the memory, and at those of "
        "the workers, if there are any",
    )
    assert os.path.exists(shop.path(wrong))
    assert due(shop) == [wrong]


def test_a_blob_that_a_run_put_away_and_fetched_again_since_it_was_read_is_whole(shop):
    bad = shop.names[0]
    with open(shop.path(bad), "rb") as file:
        good = file.read()
    with open(shop.path(bad), "wb") as file:
        file.write(b"rotten")

    class FetchedMeanwhile(Reads):
        def hash(self, files, progress):
            for answers in list(UncachedThreads().hash(files, progress)):
                os.unlink(shop.path(bad))
                with open(shop.path(bad), "wb") as file:
                    file.write(good)
                yield answers

    assert [type(each) for each in audit(shop, FetchedMeanwhile())] == [Whole] * 6
    assert due(shop) == []


def test_what_could_not_be_read_elsewhere_is_read_here(shop):
    assert [type(each) for each in audit(shop, Reads(**{shop.names[0]: SawAnother("no mount")}))] == [Whole] * 6


def test_a_blob_that_differs_is_read_twice_here_where_nobody_else_read_it(shop, monkeypatch):
    bad = shop.names[0]
    with open(shop.path(bad), "r+b") as file:
        file.write(b"rotten")
    opened = []
    plainly = Store.open
    monkeypatch.setattr(
        Store, "open", lambda store, name, flags: opened.append((name, flags)) or plainly(store, name, flags)
    )
    found = {each.blob.sha256: type(each) for each in audit(shop, Reads(**{bad: SawAnother("no mount")}))}
    assert found[bad] is Damaged
    assert [name for name, _ in opened] == [bad, bad]


def test_what_another_run_put_away_and_fetched_again_meanwhile_stays(shop, monkeypatch):
    bad = shop.names[0]
    with open(shop.path(bad), "rb") as file:
        good = file.read()
    with open(shop.path(bad), "wb") as file:
        file.write(b"rotten")
    plainly = auditing.fail_dependents

    def fetched_again(*args):
        yield from plainly(*args)
        assert shop.store.put_away(bad) is not None
        with open(shop.path(bad), "wb") as file:
            file.write(good)

    monkeypatch.setattr(auditing, "fail_dependents", fetched_again)
    assert Damaged in {type(each) for each in audit(shop)}
    with open(shop.path(bad), "rb") as file:
        assert file.read() == good
    assert len(shop.store.held("quarantine").names()) == 1


def test_what_another_audit_read_while_the_blobs_were_listed_is_not_due(shop, monkeypatch):
    listed = Store.shelf

    def shelf(store, digits):
        if digits == "ff":
            shop.audits.note(shop.names[:2], time.time_ns())
        return listed(store, digits)

    monkeypatch.setattr(Store, "shelf", shelf)
    planned = plan(shop.store, shop.audits, None)
    assert (planned.due.blobs, planned.recent, planned.ahead) == (4, 2, 0)


def test_of_what_is_no_blob_a_hundred_are_named(shop):
    for number in range(103):
        with open(os.path.join(shop.store.root, "blobs/sha256", f"junk-{number:03}"), "w"):
            pass
    planned = plan(shop.store, shop.audits, None)
    assert (len(planned.others), planned.more) == (100, 3)


def test_a_link_in_the_place_of_a_blob_is_not_followed(shop, tmp_path):
    planned = plan(shop.store, shop.audits, None)
    (tmp_path / "secret").write_bytes(b"secret")
    os.unlink(shop.path(shop.names[0]))
    os.symlink(tmp_path / "secret", shop.path(shop.names[0]))
    run = StoreAudit(shop.store, shop.state, shop.audits, UncachedThreads(), shop.events.append)
    (unread,) = (each for each in run.run(planned, None) if each.blob.sha256 == shop.names[0])
    assert isinstance(unread, Unread)
    assert unread.error.found == f"a link to {tmp_path}/secret"
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.slow
def test_processes_audit_as_threads_do(shop):
    bad = shop.names[3]
    with open(shop.path(bad), "r+b") as file:
        file.write(b"rotten")
    with closing(Window(chosen("local:2"), hash_files_uncached)) as window:
        found = {each.blob.sha256: type(each) for each in audit(shop, window)}
    assert found == dict.fromkeys(shop.names, Whole) | {bad: Damaged}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_of_a_cluster_audit_as_threads_do_and_who_sees_another_file_is_not_asked(shop, tmp_path):
    bad, hidden = shop.names[3:5]
    with open(shop.path(bad), "r+b") as file:
        file.write(b"rotten")
    (tmp_path / "another").write_bytes(b"another")
    cluster = Dask(tmp_path)
    try:
        cluster.worker(mount=f"mount --bind {tmp_path}/another {shop.path(hidden)}")
        with closing(Window(chosen(f"dask:{cluster.address}"), hash_files_uncached)) as window:
            found = {each.blob.sha256: type(each) for each in audit(shop, window)}
            assert list(window.read_here) == [shop.path(hidden)]
    finally:
        cluster.close()
    assert found == dict.fromkeys(shop.names, Whole) | {bad: Damaged}
    assert due(shop) == []
