"""Bytes that are taken from a connection in a thread of their own, while the caller still writes what came before."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

AHEAD = 4
"""How many chunks may be here before the caller asks for them."""


def read_ahead(chunks: Iterator[bytes], wake: Callable[[], object]) -> Generator[bytes]:
    """Yield what `chunks` yields, and raise what it raises, in its order; at most `AHEAD` of them wait to be asked for.

    No thread outlives the generator: one that is closed before the end calls `wake`, which has to end what `chunks` may be
    waiting for.
    """
    here: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
    room, left = Semaphore(AHEAD), Event()

    def take() -> None:
        try:
            for chunk in chunks:
                here.put(chunk)
                room.acquire()
                if left.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  raised again by the caller's thread
            here.put(error)
        else:
            here.put(None)

    thread = Thread(target=take, daemon=True)
    thread.start()
    found: bytes | BaseException | None = b""
    try:
        while (found := here.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            room.release()
            yield found
    finally:
        if isinstance(found, bytes):
            left.set()
            room.release()
            wake()
        thread.join()
