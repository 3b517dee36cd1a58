"""Large files by the workers of a dask scheduler on this machine, against the threads that read them without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from large import Large, words
from measure import Comparison
from peers import DISTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60
"""Within which a process of the cluster has to be ready."""


class Cluster:
    """A scheduler and workers of one thread each, from `start` to the end of the block."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, self._workers = folder, workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def start(self) -> None:
        """Start it, and wait until every worker is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        arguments = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        self.address = self._begin("scheduler", *arguments, ready=r"Scheduler at:\s+(tcp://\S+)")
        for number in range(self._workers):
            local = str(self._folder / f"worker{number}")
            arguments = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", local)
            self._begin("worker", self.address, *arguments, ready=r"(Registered to)")

    def _begin(self, what: str, *arguments: str, ready: str) -> str:
        log = self._folder / f"{what}{len(self._processes)}.log"
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        environ = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(self._folder)}
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=environ, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        end = time.monotonic() + SECONDS
        while (found := re.search(ready, log.read_text())) is None:
            if self._processes[-1].poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the {what} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        return found[1]


def workers(folder: Path, count: int, files: int, size: int) -> Iterator[Comparison]:
    """Compare `files` files of `size` bytes, by `count` workers, with threads. The cluster's start and connecting are aside."""
    large = Large(folder / "models", files, size)
    with Cluster(folder / "dask", count) as cluster:
        yield Comparison(
            what=f"first verification of {files} files of {words(size)}, by {count} dask workers",
            against="ours, by threads",
            reach="≤ 1.25",
            prepare=(large.make, cluster.start),
            ours=lambda: large.first("env", f"MODEL_PROVISIONER_SCHEDULER=dask:{cluster.address}"),
            theirs=large.first,
            needs=(DISTRIBUTED,),
        )
