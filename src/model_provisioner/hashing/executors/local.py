"""Processes and threads of this machine, as executors."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from threading import Thread
from typing import TYPE_CHECKING, Any

from model_provisioner.hashing.executors.choose import Scheduler
from model_provisioner.hashing.threads import core_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from multiprocessing.connection import Connection

NOT_THEIRS = (signal.SIGINT, signal.SIGHUP)
"""What a terminal sends to every process: the one that was started by hand ends the others."""


class Processes(ProcessPoolExecutor):
    """Processes that end with this one, or when `lifeline` is closed, whatever they do."""

    def __init__(self, slots: int, lifeline: Connection) -> None:
        # Not forked: there are threads here, and what they hold would be held for ever there.
        super().__init__(slots, mp_context=get_context("spawn"), initializer=_begin, initargs=(lifeline,))
        self.slots = slots

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a call be made in a process. One that begins for it inherits that Ctrl-C has to wait until it is prepared."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_THEIRS)
        try:
            return super().submit(call, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Threads(ThreadPoolExecutor):
    """Threads of this process."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.slots = slots


@contextmanager
def opened(text: str) -> Iterator[Processes]:
    """Start so many processes when the first file comes; they end with the block, in the middle of a file too."""
    reader, writer = get_context("spawn").Pipe(duplex=False)
    executor = Processes(int(text), reader)
    try:
        yield executor
    finally:
        writer.close()  # nobody waits for a file whose digest nobody wants
        executor.shutdown(wait=True, cancel_futures=True)
        reader.close()


def threads() -> Scheduler:
    """Return the executor for who asked for none: as many threads as cores."""
    count = core_count()
    return Scheduler(f"{count} threads", lambda: Threads(count))


def _begin(lifeline: Connection) -> None:
    """Prepare a process: Ctrl-C is the other one's, and the end of the lifeline is the end."""
    for number in NOT_THEIRS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NOT_THEIRS)
    Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent: it ends where the other end is closed, by a kill too
    os._exit(0)
