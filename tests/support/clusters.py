"""A real dask scheduler and its workers, each a process on this machine, and what is wrong with them."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ENVIRON = {"DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "false", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
"""Two workers may die of a file, and then it is not given to a third."""


@dataclass
class Dask:
    """A scheduler, and workers that may be told apart by what was done to them. All end with `close`."""

    folder: Path
    workers: list[subprocess.Popen] = field(default_factory=list)
    address: str = ""

    def __post_init__(self):
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        self.scheduler, log = self._start(command, "scheduler")
        self.address = _found(self.scheduler, log, r"Scheduler at:\s+(tcp://\S+)")

    def worker(self, mount: str = "", code: str = "") -> subprocess.Popen:
        """Start a worker of one thread; `mount` is a shell command that is done first, unseen by the rest of the machine, and
        `code` is Python that it executes before it takes any task."""
        words = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60"]
        preload = []
        if code:
            path = self.folder / f"preload{len(self.workers)}.py"
            path.write_text(code)
            preload = ["--preload", str(path)]
        local = ["--local-directory", str(self.folder / f"local{len(self.workers)}")]
        process, log = self._start([*words, *local, *preload], f"worker{len(self.workers)}", mount)
        self.workers.append(process)
        _found(process, log, r"(Starting established connection|Registered to)")
        return process

    def _start(self, words, name, mount=""):
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        if mount:
            shell = f"{mount} && exec {shlex.join(command)}"
            command = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell]
        log = self.folder / f"{name}.log"
        environ = {**os.environ, **ENVIRON, "DASK_TEMPORARY_DIRECTORY": str(self.folder)}
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environ)
        return process, log

    def close(self):
        for process in (*self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)  # one that is stopped ends by nothing else
            process.wait(20)


def _found(process, log, pattern):
    end = time.monotonic() + 60
    while (match := re.search(pattern, log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return match[1]
