"""Cores, taken and lent; work in threads: results as they come, an end at the first error, no thread that outlives its caller."""

import threading
import time
from contextlib import ExitStack

import pytest

from model_provisioner.hashing.threads import Cores, as_done, core_count, cpu_limit, in_threads
from tests.support.remote import wait_until


def names():
    return {thread.name for thread in threading.enumerate()}


def test_every_item_comes_back_with_its_result():
    assert dict(in_threads(lambda item, _: item * 2, range(100), 4)) == {item: item * 2 for item in range(100)}
    assert list(in_threads(lambda item, _: item, [], 4)) == []


@pytest.mark.parametrize(
    ("items", "workers"), [([1], 8), ([1, 2], 1), ([1, 2], 0)], ids=["one item", "one worker", "none"]
)
def test_one_item_or_one_worker_needs_no_thread(items, workers):
    found = in_threads(lambda item, _: threading.current_thread(), items, workers)
    assert {thread for _, thread in found} == {threading.current_thread()}


def test_as_many_threads_work_as_were_asked_for():
    together = threading.Barrier(3, timeout=30)
    assert len(list(in_threads(lambda item, _: together.wait(), range(3), 3))) == 3


@pytest.mark.parametrize("error", [ValueError("one"), StopIteration("one"), KeyboardInterrupt("one")], ids=repr)
def test_the_first_error_is_raised_and_ends_the_work(error):
    before, done = names(), []

    def work(item, check):
        if item == 1:
            raise error
        while len(done) < 5000:
            check()
            time.sleep(0.001)
        done.append(item)

    with pytest.raises((type(error), RuntimeError), match="one|StopIteration"):
        list(in_threads(work, range(10_000), 2))
    assert done == []
    assert names() == before


def test_who_wants_no_more_results_ends_the_work():
    before, started = names(), []

    def work(item, check):
        started.append(item)
        while item:
            check()
            time.sleep(0.001)
        return item

    results = in_threads(work, range(10_000), 2)
    assert next(results) == (0, 0)
    results.close()
    assert len(started) < 5
    assert names() == before


def test_what_is_done_while_the_caller_is_busy_comes_together():
    before, begun = names(), threading.Event()

    def work(item, _):
        if item:
            begun.wait(30)
        return -item

    results = as_done([(work, range(5), 2), (work, range(5, 7), 1)], check=lambda: None)
    assert next(results) == [(0, 0)]
    begun.set()
    wait_until(lambda: names() == before)
    assert sorted(next(results)) == [(item, -item) for item in range(1, 7)]
    assert list(results) == []


def test_what_was_done_before_an_error_comes_before_it():
    before, begun = names(), threading.Event()

    def work(item, _):
        if item == 1:
            begun.wait(30)
        if item == 2:
            raise ValueError("two")
        return item

    results = as_done([(work, range(3), 1), (work, [3], 1)])
    found = next(results)
    begun.set()
    wait_until(lambda: names() == before)
    with pytest.raises(ValueError, match="two"):
        while True:
            found += next(results)
    assert sorted(found) == [(0, 0), (1, 1), (3, 3)]


def test_a_process_has_a_core():
    assert core_count() >= 1


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/", {"": "200000 100000"}, 2),
        ("0::/", {"": "250000 100000"}, 3),
        ("0::/", {"": "1000 100000"}, 1),
        ("0::/", {"": "max 100000"}, None),
        ("0::/a/b", {"": "800000 100000", "a": "200000 50000", "a/b": "max 100000"}, 4),
        ("0::/a/b", {"a/b": "100000 100000"}, 1),
        ("0::/../elsewhere", {"": "max 100000"}, None),
        ("4:cpu:/a\n0::/b", {"a": "100000 100000", "b": "300000 100000"}, 3),
        ("4:cpu:/a", {"a": "100000 100000"}, None),
        ("0::/", {"": "nonsense"}, None),
        ("0::/", {"": "0 0"}, None),
        ("", {"": "100000 100000"}, None),
    ],
)
def test_a_container_may_have_the_time_of_fewer_cores(own, limits, cores, tmp_path):
    (tmp_path / "own").write_text(f"{own}\n")
    for group, limit in limits.items():
        (tmp_path / "top" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / group / "cpu.max").write_text(f"{limit}\n")
    assert cpu_limit(str(tmp_path / "own"), str(tmp_path / "top")) == cores
    assert cpu_limit(str(tmp_path / "none"), str(tmp_path / "top")) is None


def test_a_limit_of_time_counts_where_it_is_below_the_cores(monkeypatch):
    cores = core_count()
    monkeypatch.setattr("model_provisioner.hashing.threads.cpu_limit", lambda: 1)
    assert core_count() == 1
    monkeypatch.setattr("model_provisioner.hashing.threads.cpu_limit", lambda: cores + 1)
    assert core_count() == cores


@pytest.mark.parametrize(
    ("cores", "files", "helped"),
    [
        (16, 1, 1),
        (16, 8, 8),
        (16, 9, 7),
        (16, 16, 0),
        (16, 40, 0),
        (2, 1, 1),
        (2, 2, 0),
        (1, 1, 0),
    ],
)
def test_as_many_files_are_read_by_two_threads_as_there_are_cores_for(cores, files, helped, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    here = Cores()
    with ExitStack() as held:
        for _ in range(files):
            held.enter_context(here.taken())
        assert sum(held.enter_context(here.lent(1)) for _ in range(files)) == helped
    assert here.left == cores


def test_who_helps_sees_that_its_core_is_wanted_and_that_it_is_no_more(monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: 4)
    here = Cores()
    with here.taken(), here.lent(9) as helpers:
        assert (helpers, here.left) == (3, 0)
        with here.taken():
            assert here.left == -1
        assert here.left == 0
    assert here.left == 4
