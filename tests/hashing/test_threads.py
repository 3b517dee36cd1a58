"""Work in threads: results as they come, an end at the first error, and no thread that outlives its caller."""

import threading
import time

import pytest

from model_provisioner.hashing.threads import core_count, in_threads


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


def test_a_process_has_a_core():
    assert core_count() >= 1
