"""Single flight: of all threads and processes that want one thing, one brings it; the others wait and see it grow.

The locks of `fs.locking.locks.locked` lie on the local disk, are shared by many keys and are held for moments. These lie in the
store, which other machines may use too, have a file each, which is removed when it is old, and are held as long as a
download takes.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from model_provisioner.fs.locking.locks import NoLocksError, open_locked
from model_provisioner.store.arriving.left import arrived
from model_provisioner.store.layout import store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.store.layout import Layout

FOLDER = "locks"


@contextmanager
def single_flight(store: Layout, key: str, waiting: Callable[[int], object] = lambda _: None) -> Iterator[None]:
    """Hold the kernel's lock of `key`; while another owner has it, call `waiting` with the bytes that arrived so far.

    What was waited for is usually there afterwards: look before you fetch. Where the file system has no locks nobody
    waits, and work is done twice, which is all that depends on it. `waiting` may raise to give up. Raises `StorageError`.
    """
    folder, name = store.folder(FOLDER), f"{hashlib.sha256(os.fsencode(key)).hexdigest()}.lock"
    with ExitStack() as stack:
        try:
            fd = open_locked(folder, name, os.O_RDWR | os.O_CREAT, waiting=lambda: waiting(arrived(store, key)))
            stack.callback(os.close, fd)
        except NoLocksError:
            pass
        except OSError as error:
            raise store_error("a lock can't be made in the store", folder.path_of(name), error) from None
        yield
