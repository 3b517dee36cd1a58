"""Waits for a lock that take long: who listens is told of each, once, and of who holds the lock where that can be told."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.fs.locking.holder import Holder

    Listener: TypeAlias = Callable[[str, Holder | None], object]
    """Called with the path of the file or folder that is locked, and who holds it; None where that can't be told."""

AFTER_S = 3.0
"""How many seconds a wait takes before it is told."""

_listeners: list[Listener] = []


@contextmanager
def waits_told(listener: Listener) -> Iterator[None]:
    """Tell a listener of the long waits of this process during the block, whichever thread waits.

    It is called from a thread of its own; what it raises comes out of the wait when that is over.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def telling(fd: int, path: str) -> Iterator[None]:
    """Wait in the block for the lock of an open file; if that takes long, it is told."""
    raised: list[BaseException] = []
    ended = threading.Event()

    def tell() -> None:
        from model_provisioner.fs.locking.holder import holder_of  # few waits are told

        try:
            holder = holder_of(os.fstat(fd))
            for listener in () if ended.is_set() else tuple(_listeners):
                listener(path, holder)
        except OSError:
            pass  # nobody reads what is told, or the file was closed: the wait goes on or is over
        except BaseException as error:  # noqa: BLE001  raised again where the caller waits
            raised.append(error)

    timer = threading.Timer(AFTER_S, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        ended.set()
        timer.cancel()
    if raised:
        raise raised[0]
