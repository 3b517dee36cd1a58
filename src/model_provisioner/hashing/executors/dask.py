"""The workers of a dask scheduler, as an executor. Imported only where the user asks for it: it needs the extra `dask`."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed import Client
from distributed.cfexecutor import ClientExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 15
"""Less than a window waits."""
CLOSE_SECONDS = 2
"""A scheduler that is gone does not answer to a farewell."""


class Workers(ClientExecutor):  # type: ignore[misc]  # distributed has no types
    """The workers that a client knows."""

    def __init__(self, client: Client) -> None:
        # Not pure: the same question about a file may have another answer, and dask would remember the first.
        super().__init__(client, pure=False)
        self.slots: int | None = sum(client.nthreads().values()) or None
        """The threads of all workers that are there now; None where there are none yet."""


@contextmanager
def opened(address: str) -> Iterator[Workers]:
    """Connect to the scheduler at an address, for the length of the block."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says of a lost scheduler, the error says
    client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="model-provisioner")
    try:
        executor = Workers(client)
        yield executor
        executor.shutdown(wait=False)
    finally:
        client.close(timeout=CLOSE_SECONDS)
