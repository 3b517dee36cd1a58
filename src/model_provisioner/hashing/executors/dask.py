"""The workers of a dask scheduler, as an executor. Imported only where the user asks for it: it needs the extra `dask`."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed import Client
from distributed.comm import get_address_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

CONNECT_SECONDS = 10
"""Less than a window waits."""
CLOSE_SECONDS = 2
"""A scheduler that is gone does not answer to a farewell."""


@contextmanager
def opened(address: str) -> Iterator[Executor]:
    """Connect to the scheduler at an address, for the length of the block."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says of a lost scheduler, the error says
    get_address_host(address)  # a client of no known scheme is waited for, for half a minute, when Python ends
    client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="model-provisioner")
    try:
        # Not pure: the same question about a file may have another answer, and dask would remember the first.
        executor = client.get_executor(pure=False)
        executor.slots = sum(client.nthreads().values())  # those that are there now
        yield executor
        executor.shutdown(wait=False)
    finally:
        client.close(timeout=CLOSE_SECONDS)
