"""The cores of this process: how many there are, which read models now, and how to work in several threads."""

from __future__ import annotations

import os
import threading
from contextlib import closing, contextmanager, suppress
from functools import cache
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from model_provisioner.fs.read import read_if_there

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

CHECK_SECONDS = 0.1
"""How long a caller waits for results before it asks whether they are still wanted."""


class Stopped(BaseException):
    """Ends a thread whose result is no longer wanted."""


def core_count() -> int:
    """Return how many cores this process may use: those that it may run on, or the share of them that it is limited to."""
    # A container or a batch system may allow fewer than the machine has; macOS can't tell.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, cpu_limit() or count)


@cache
def cpu_limit(own: str = "/proc/self/cgroup", top: str = "/sys/fs/cgroup") -> int | None:
    """Return to the time of how many cores control groups (version 2) limit a process, rounded up; None where they do not.

    `own` says in which group it is. Each group above has a limit too: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu.
    A container sees its own group as the top. A limit that changes while the process runs is not seen.
    """
    lines = (read_if_there(own) or b"").decode("utf-8", "surrogateescape").splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::/")), None)
    if path is None:
        return None
    found = []
    groups = [name for name in path.split("/") if name]
    for depth in range(len(groups) + 1):
        text = read_if_there("/".join((top, *groups[:depth], "cpu.max"))) or b""
        quota, _, period = text.decode("ascii", "replace").strip().partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            found.append(-(-int(quota) // int(period)))
    return min(found, default=None)


class Cores:
    """Which cores read models now, whoever reads.

    A reader of a file takes one, even if none is left. A thread that helps it has one that was left, and gives it back when
    more are taken than there are. So it needs no number of the files to come: beside as many as there are cores nobody is
    helped, and the last ones are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._count = core_count()

    @property
    def left(self) -> int:
        """How many are left; below 0 where threads that help are to end."""
        return self._count - self._taken

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take one."""
        with self._lock:
            self._taken += 1
            self._count = core_count()  # for each file: it may change, and for each buffer it costs
        try:
            yield
        finally:
            self._give_back(1)

    @contextmanager
    def lent(self, most: int) -> Iterator[int]:
        """Take up to so many of those that are left; yield how many."""
        with self._lock:
            count = max(0, min(most, self.left))
            self._taken += count
        try:
            yield count
        finally:
            self._give_back(count)

    def _give_back(self, count: int) -> None:
        with self._lock:
            self._taken -= count


CORES = Cores()
"""Those of this process."""


def left_behind(call: Callable[[], Result], check: Callable[[], None]) -> Result:
    """Return what `call` returns, from a thread of its own, which is left behind where `check` raises meanwhile.

    For questions to a network that change nothing here, and that nothing else can end.
    """
    done: SimpleQueue[Result | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            done.put(call())
        except BaseException as error:  # noqa: BLE001  raised again by the thread that asked
            done.put(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        with suppress(Empty):
            found = done.get(timeout=CHECK_SECONDS)
            break
        check()
    if isinstance(found, BaseException):
        raise found
    return found


def in_threads(
    work: Callable[[Item, Callable[[], None]], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Call `work` for every item in at most `workers` threads: see `in_pools`."""
    return in_pools([(work, items, workers)])


def in_pools(
    pools: Sequence[tuple[Callable[[Item, Callable[[], None]], Result], Sequence[Item], int]],
    wake: Callable[[], object] | None = None,
    check: Callable[[], None] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Do several kinds of work side by side, as `as_done` does; yield each item with its result as it is done."""
    with closing(as_done(pools, wake, check)) as ready:
        for done in ready:
            yield from done


def as_done(
    pools: Sequence[tuple[Callable[[Item, Callable[[], None]], Result], Sequence[Item], int]],
    wake: Callable[[], object] | None = None,
    check: Callable[[], None] | None = None,
) -> Generator[list[tuple[Item, Result]]]:
    """Do several kinds of work side by side, each for its items in at most so many threads of its own.

    Yield items with their results, all at once that were done since the last time. Work takes the item and a function to
    call now and then. That function raises `Stopped` when the results are no longer wanted: other work raised, which is
    raised here, the caller's own `check` raised, or the caller closed the generator. `wake` is called then, to end what
    threads may be waiting for. No thread outlives the call. Work for one thread runs in the caller's own, unless there is
    a `wake`.
    """
    pools = [(work, items, min(workers, len(items))) for work, items, workers in pools if items]
    if wake is None and sum(workers for *_, workers in pools) < 2:
        for work, items, _ in pools:
            for item in items:
                yield [(item, work(item, check or (lambda: None)))]
        return
    done: SimpleQueue[tuple[Item, Result] | BaseException] = SimpleQueue()
    stop = threading.Event()
    lock = threading.Lock()

    def checked() -> None:
        if stop.is_set():
            raise Stopped
        if check is not None:
            check()

    def run(work: Callable[[Item, Callable[[], None]], Result], left: Iterator[Item]) -> None:
        try:
            while not stop.is_set():
                with lock:
                    each = list(islice(left, 1))
                if not each:
                    return
                done.put((each[0], work(each[0], checked)))
        except BaseException as error:  # noqa: BLE001  raised again by the thread that asked
            done.put(error)

    threads = [
        threading.Thread(target=run, args=(work, left), daemon=True)
        for work, items, workers in pools
        for left in [iter(items)]
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        left = sum(len(items) for _, items, _ in pools)
        while left:
            try:
                found = [done.get(timeout=CHECK_SECONDS)]
            except Empty:
                if check is not None:
                    check()
                continue
            while not done.empty():
                found.append(done.get())
            if ready := [each for each in found if not isinstance(each, BaseException)]:
                yield ready
                left -= len(ready)
            for each in found:
                if isinstance(each, BaseException):
                    raise each
    finally:
        stop.set()
        if wake is not None and any(thread.is_alive() for thread in threads):
            wake()
        for thread in threads:
            thread.join()
