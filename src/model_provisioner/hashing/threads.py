"""The cores of this process: how many there are, how many read models now, and how to work in several threads."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

_lock = threading.Lock()
_busy = 0


class Stopped(BaseException):
    """Ends a thread whose result is no longer wanted."""


def core_count() -> int:
    """Return how many cores this process may use."""
    # A container or a batch system may allow fewer than the machine has; macOS can't tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def core_taken() -> Iterator[int]:
    """Take a core to read one file; yield how many are left beside it."""
    global _busy  # noqa: PLW0603  the cores are the process's, whoever reads
    with _lock:
        _busy += 1
        spare = max(0, core_count() - _busy)
    try:
        yield spare
    finally:
        with _lock:
            _busy -= 1


def in_threads(
    work: Callable[[Item, Callable[[], None]], Result],
    items: Sequence[Item],
    workers: int,
    wake: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Item, Result]]:
    """Call `work` for every item in at most `workers` threads; yield each item with its result as it is done.

    `work` takes the item and a function to call now and then. That function raises `Stopped` when the results are no
    longer wanted: the work of another item raised, which is raised here, or the caller closed the generator. `wake` is
    called then, to end what threads may be waiting for. No thread outlives the call. One worker, or one item, runs in the
    caller's own thread.
    """
    if min(workers, len(items)) < 2:
        for item in items:
            yield item, work(item, lambda: None)
        return
    queue = iter(items)
    done: SimpleQueue[tuple[Item, Result] | BaseException] = SimpleQueue()
    stop = threading.Event()
    lock = threading.Lock()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    def run() -> None:
        try:
            while not stop.is_set():
                with lock:
                    each = list(islice(queue, 1))
                if not each:
                    return
                done.put((each[0], work(each[0], check)))
        except BaseException as error:  # noqa: BLE001  raised again by the thread that asked
            done.put(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stop.set()
        if any(thread.is_alive() for thread in threads):
            wake()
        for thread in threads:
            thread.join()
