"""The nodes of a Ray cluster, as an executor. Imported only where the user asks for it: it needs the extra `ray`."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


RETRIES = 2
"""How often a call is made again whose worker died."""


class Nodes(Executor):
    """The nodes of the cluster that this process is connected to."""

    def __init__(self) -> None:
        self._call = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        self.slots: int | None = int(ray.cluster_resources().get("CPU", 0)) or None
        """The CPUs of all nodes that are there now; None where there are none yet."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a call be made somewhere. Cancelled, it is ended there too."""
        reference = self._call.remote(call, *args, **kwargs)
        future: Future[Any] = Future()

        def pass_on(done: Future[Any]) -> None:
            if future.set_running_or_notify_cancel():
                if (error := done.exception()) is None:
                    future.set_result(done.result())
                else:
                    future.set_exception(error)

        def end(done: Future[Any]) -> None:
            if done.cancelled():
                ray.cancel(reference, force=True)

        future.add_done_callback(end)
        reference.future().add_done_callback(pass_on)
        return future


@contextmanager
def opened(address: str) -> Iterator[Nodes]:
    """Connect to a cluster for the length of the block: `auto` is that of this machine. None is started."""
    ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    try:
        yield Nodes()
    finally:
        ray.shutdown()


def _call(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return call(*args, **kwargs)
