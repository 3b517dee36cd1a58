"""Files are hashed past the page cache: by threads of this process, or by what runs on a worker. See `hashing/uncached.py`."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from model_provisioner.fs.read import open_regular
from model_provisioner.hashing.executors.tasks import Hashed, SawAnother, look_asked, tasks_of
from model_provisioner.hashing.executors.worker import look_of
from model_provisioner.hashing.threads import core_count, in_threads
from model_provisioner.hashing.uncached import hash_uncached

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from model_provisioner.hashing.executors.tasks import Answer, Asked, Task
    from model_provisioner.hashing.executors.worker import Look, Said
    from model_provisioner.hashing.streaming import Progress


class UncachedThreads:
    """Hashes files past the page cache in threads of this process, as a `Window` has executors do it."""

    def hash(self, files: Sequence[Asked], progress: Progress) -> Generator[list[tuple[Asked, Answer]]]:
        """Hash files; yield what is found of them task by task, as each is done, in any order.

        `progress` is told, in those threads, of the bytes that they read; what it raises ends them.
        """

        def read(task: Task, check: Callable[[], None]) -> list[tuple[Asked, Answer]]:
            def checked(count: int) -> None:
                check()
                progress(count)

            return [(asked, _answer(asked, checked)) for asked in task]

        for _, answers in in_threads(read, tasks_of(files), core_count()):
            yield answers


def _answer(asked: Asked, progress: Progress) -> Answer:
    look = look_asked(asked)
    match _said(asked.path, look, progress):
        case str(sha256), before, after if before == after == look:
            return Hashed(sha256)
        case str(why), _:
            return SawAnother(f"it could not be read to its end: {why}")
        case str(why):
            return SawAnother(f"it could not be opened: {why}")
    return SawAnother("it changed before it was read, or while it was")


def hash_files_uncached(asked: Sequence[tuple[str, Look]]) -> tuple[str, list[Said]]:
    """Do on a worker as `worker.hash_files` does, past the worker's page cache."""
    return socket.gethostname(), [_said(path, look, lambda _: None) for path, look in asked]


class _AnotherError(Exception):
    """The file at a path is not the one that was asked for."""


def _said(path: str, look: Look, progress: Progress) -> Said:
    seen: list[Look] = []

    def opened(flags: int) -> int:
        fd = open_regular(path, flags)
        seen.append(look_of(os.fstat(fd)))
        if seen[-1] != look:
            os.close(fd)
            raise _AnotherError
        return fd

    try:
        sha256, found = hash_uncached(opened, progress)
    except _AnotherError:
        return (seen[-1],)
    except OSError as error:
        why = error.strerror or str(error)
        return (why, seen[-1]) if seen else why
    return sha256, look, (found.size, found.mtime_ns, found.inode)
