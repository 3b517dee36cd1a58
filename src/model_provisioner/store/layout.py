"""Where everything of a store lies under `cache_dir`, and how small files are written there.

The format stands in `docs/reference/store.md`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError, UnsoundModelError
from model_provisioner.fs.locking.reach import reach_of
from model_provisioner.fs.root import Root
from model_provisioner.fs.unreachable import storage_error
from model_provisioner.references.digest import SHA256_HEX

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fs.folder import Folder

SETTING = "cache_dir"
"""What a user sets to have the store somewhere else."""
BLOBS = "blobs/sha256"
TREES = "trees"
PARTIAL = "partial"
"""The folder of what is on its way: downloads, and drafts of small files and trees."""
QUARANTINE = "quarantine"

_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by model-provisioner: what is here can be fetched again.
# For information about cache directory tags see https://bford.info/cachedir/
"""
_OURS = b"created by model-provisioner"
TAG = "CACHEDIR.TAG"
_ASIDE = {"lost+found", ".snapshot", ".snapshots", ".zfs"}
"""What a file system has of its own in a new folder."""
RANDOM = "[0-9a-f]{16}"
REACH = "(?:local|[0-9a-f]{16})"
"""How the names begin of files that have an owner: see `fs/locking/reach.py`. Version 0.1 wrote none."""
ARRIVING = re.compile(rf"(?:{REACH}\.)?({SHA256_HEX.pattern})\.{RANDOM}")
"""A download on its way."""
IN_PARTIAL = re.compile(rf"{ARRIVING.pattern}(\.json)?|draft\.{RANDOM}|tree\.{RANDOM}(\.old)?")
"""The names of what is on its way. Only what has a name of ours is ever removed."""
NAMED = re.compile(rf"({SHA256_HEX.pattern})\.{RANDOM}")
"""A file in quarantine."""


class Layout:
    """The folders of one store. Making one reads and writes nothing; folders are made when first written to.

    No link below `top` is followed: that is the store itself, unless a project names its store by a relative path. A folder
    is a store if it has our tag, if records know trees of ours in it (`is_known`), or if there is nothing in it.
    """

    def __init__(self, cache_dir: str, *, top: str | None = None, is_known: Callable[[], bool] = lambda: False) -> None:
        self.root = os.path.abspath(cache_dir)
        top = self.root if top is None else top
        self._folders, self._prefix = Root(top), self.root[len(top) :].strip("/")
        self._lock = threading.RLock()
        self._is_known, self._is_ours, self._is_prepared = is_known, False, False

    def close(self) -> None:
        """Close the folders that are held open; the next use opens them again."""
        self._folders.close()

    @cached_property
    def reach(self) -> str:
        """How far our locks in the store reach, as the names of the files begin that we own. Raises `OSError`."""
        return reach_of(self.held(""))

    def now(self) -> float:
        """Return the time by the clock that sets the times of files here, in seconds since the epoch: of a server, its own.

        Where nothing can be written, it is the time of this machine.
        """
        draft = f"draft.{secrets.token_hex(8)}"
        try:
            partial = self.folder(PARTIAL)
            partial.write(draft, b"", sync=False)
            try:
                return partial.stat(draft).st_mtime
            finally:
                partial.unlink(draft)
        except (OSError, StorageError):
            return time.time()

    def held(self, name: str) -> Folder:
        """Return a folder of the store. Raises `OSError` where it is not there, too, and `StorageError` if it is no store."""
        if not self._is_ours:
            self._check(self._folders.folder(self._prefix))
        return self._folders.folder(self._name(name))

    def folder(self, name: str) -> Folder:
        """Return a folder of the store, made where it is missing. Raises `StorageError`."""
        try:
            with self._lock:  # nothing is made before the tag: a folder with other things in it is no store
                if not self._is_prepared:
                    self._is_prepared = True
                    try:
                        self._prepare()
                    except BaseException:
                        self._is_prepared = False
                        raise
            return self._folders.make(self._name(name))
        except OSError as error:
            path = os.path.join(self.root, name) if name else self.root
            raise store_error("a folder of the store can't be made", path, error) from None

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Write a small file whole or not at all, also where the file system has no locks. Raises `StorageError`."""
        into, partial = self.folder(folder), self.folder(PARTIAL)
        draft = f"draft.{secrets.token_hex(8)}"
        try:
            partial.write(draft, data, sync=True)
            partial.rename(draft, into, name)
            into.sync()
        except OSError as error:
            with suppress(OSError):
                partial.unlink(draft)
            raise store_error("a file of the store could not be written", into.path_of(name), error) from None

    def _prepare(self) -> None:
        """Do what comes before the first write: mark the folder as a cache of ours."""
        folder = self.folder("")
        self._check(folder)
        if not folder.has(TAG):
            self.write("", TAG, _TAG)
        self._is_ours = True

    def _name(self, name: str) -> str:
        return f"{self._prefix}/{name}".strip("/")

    def _check(self, folder: Folder) -> None:
        """Refuse a folder that holds something else. Raises `StorageError` and `OSError`."""
        tag, left = folder.read(TAG), set[str]()
        if tag is None:
            left = set(folder.names()) - _ASIDE
            tag = folder.read(TAG)  # where another run begins the store meanwhile, the rest came after it
        if tag is not None or TAG in left:
            found = f"a {TAG} that is not ours"
            self._is_ours = tag is not None and _OURS in tag
        # Half a start: the draft of the tag is the first that is made.
        elif not left or (left == {PARTIAL} and all(map(IN_PARTIAL.fullmatch, folder.folder(PARTIAL).names()))):
            return
        else:
            found = f"{min(left)!r} and no {TAG} of ours"
        if not self._is_ours and not self._is_known():
            raise StorageError(
                "the folder for fetched files holds something else",
                where=self.root,
                expected=f"a new or empty folder, or one with the {TAG} of model-provisioner",
                found=found,
                fix=f"it was left as it is: name a new folder in {SETTING}, or in MODEL_PROVISIONER_CACHE_DIR",
            )


def blob_place(sha256: str) -> str:
    """Return where the blob with this SHA-256 lies in a store. Raises `UnsoundModelError` for what is no SHA-256."""
    if not SHA256_HEX.fullmatch(sha256):  # it may come from a server, and ends in a path
        raise UnsoundModelError(
            "the source of a model names a digest that is none",
            where="what the source lists",
            expected="64 hexadecimal digits",
            found=sha256[:200],
            fix="download the model and point model_ref at the file",
        )
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def stem_of(key: str) -> str:
    """Return how the names of all files of a key that are on their way begin.

    A key may hold what no file name can, and what nobody may see.
    """
    return hashlib.sha256(os.fsencode(key)).hexdigest()


def stem_in(name: str) -> str | None:
    """Return the stem in the name of a file on its way; None where it is none."""
    return match[1] if (match := ARRIVING.fullmatch(name)) else None


def store_error(what: str, path: str, error: OSError) -> StorageError:
    """Word an operating system's refusal to write something of a store."""
    return storage_error(what, path, error, elsewhere=SETTING)
