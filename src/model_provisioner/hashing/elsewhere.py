"""Hash files elsewhere: workers read them, and the rows of the memo are made here."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from model_provisioner.errors import ProvisionError
from model_provisioner.fs.clock import at_rest
from model_provisioner.fs.identity import Identity, identity
from model_provisioner.hashing.executors.tasks import Asked, Hashed
from model_provisioner.hashing.memo_rows import Row
from model_provisioner.hashing.streaming import open_model
from model_provisioner.hashing.sync import sync_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.hashing.executors.window import Window
    from model_provisioner.hashing.streaming import Progress


def hash_elsewhere(window: Window, paths: Sequence[str], progress: Progress) -> Iterator[dict[str, Row]]:
    """Let the workers of an executor hash files; yield rows by path, some at a time, as they are done.

    A row has no fingerprint: nobody took one. What can't be read, moved meanwhile, or is another file where a worker looked,
    has no row: it has to be read here. Raises `ExecutorError`.
    """
    ready: dict[str, tuple[Identity, bool]] = {}
    synced = sync_all(paths, progress)
    for path in paths:  # in their order, and not as their syncs ended
        if not isinstance(then := synced[path], ProvisionError):
            with contextlib.suppress(OSError):
                ready[path] = then, at_rest(path, then)
    asked = [Asked(path, then.size, then.mtime_ns, then.inode) for path, (then, _) in ready.items()]
    for found in window.hash(asked, progress):
        rows: dict[str, Row] = {}
        for file, answer in found:
            then, settled = ready[file.path]
            if isinstance(answer, Hashed) and _now(file.path) == then:
                rows[file.path] = Row(then, None, answer.sha256, "said", settled, int(time.time()))
        yield rows


def _now(path: str) -> Identity | None:
    """Return how a file is now. It is opened for that: then a network file system asks its server."""
    try:
        fd = open_model(path)
    except ProvisionError:
        return None
    try:
        return identity(os.fstat(fd))
    finally:
        os.close(fd)
