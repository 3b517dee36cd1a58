"""The store: what was fetched, by the SHA-256 of its bytes, under the folder `cache_dir`.

The format stands in `docs/reference/store.md`. A blob is published by one rename of a file that was hashed while it was
written, so that a kill at any moment leaves a whole blob or none; what is here was right when it came, and whoever
hands it to an engine asks the digest memo whether it still is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import DigestMismatchError, UnsoundModelError
from model_provisioner.fs.atomic import read_if_there, remove_durably, storage_error, sync_folder
from model_provisioner.references.shards import split_names
from model_provisioner.store import lease, partial
from model_provisioner.store import single_flight as flight
from model_provisioner.store.partial import SETTING
from model_provisioner.store.tree import build, check_names, is_tree, tree_key, tree_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.store.partial import Partial

KEPT_S = 7 * 24 * 3600
"""For how many seconds what nobody owns is kept: half a download that somebody may go on with, bytes that were wrong."""

TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by model-provisioner: what is here can be fetched again.
# For information about cache directory tags see https://bford.info/cachedir/
"""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a model as it was fetched."""

    name: str
    """Its path in the set, parts separated by `/`."""
    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a reference stood for when it was fetched."""

    ref: str
    """The reference as a text without credentials."""
    revision: str | None
    """The commit, where its source has any."""
    etag: str | None
    """What the server of a single file called this version of it."""
    files: tuple[StoredFile, ...]
    tree: str
    """The absolute path that an engine is to open: what `Store.make_tree` returned."""


class Store:
    """The files under one `cache_dir`. Making one reads and writes nothing; folders are made when first written to."""

    def __init__(self, cache_dir: str) -> None:
        self.root = os.path.abspath(cache_dir)
        self._ready = False

    @property
    def blobs(self) -> str:
        """Where the links of trees may lead."""
        return os.path.join(self.root, "blobs")

    def folder(self, *names: str) -> str:
        """Return a folder of the store that is there now. Raises `StorageError`."""
        if not self._ready:
            self._prepare()
            self._ready = True
        return self._folder(*names)

    def _folder(self, *names: str) -> str:
        path = os.path.join(self.root, *names)
        try:
            _make_folder(path)
        except OSError as error:
            raise storage_error("a folder of the store can't be made", path, error, elsewhere=SETTING) from None
        return path

    def _prepare(self) -> None:
        tag = os.path.join(self.root, "CACHEDIR.TAG")
        self._folder()
        if not os.path.lexists(tag):
            self.write(tag, TAG)
        self.sweep()

    # ---- blobs

    def blob_path(self, sha256: str) -> str:
        """Return where the file with this SHA-256 lies if it is here. Raises `UnsoundModelError` for what is no SHA-256."""
        if not _SHA256.fullmatch(sha256):  # it may come from a server, and ends in a path
            raise UnsoundModelError(
                "the source of a model names a digest that is none",
                expected="64 hexadecimal digits",
                found=sha256[:200],
            )
        return os.path.join(self.blobs, "sha256", sha256[:2], sha256)

    def blob_behind(self, path: str) -> str | None:
        """Return the SHA-256 under which the file lies here that a name of a tree leads to; None for any other path."""
        try:
            target = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return None
        folder, sha256 = os.path.split(os.path.normpath(target))
        here = os.path.join(self.blobs, "sha256", sha256[:2])
        return sha256 if folder == here and _SHA256.fullmatch(sha256) else None

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Tell whether a file with this SHA-256, and of this size in bytes, was published here; its bytes are not read."""
        try:
            found = os.lstat(self.blob_path(sha256))
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)

    def publish(self, partial: Partial, sha256: str) -> str:
        """Give a file that arrived its place, and return it. Of several publishers one wins; the others' files are removed.

        Raises `DigestMismatchError` where it holds other bytes (it is gone then, for the next try must not go on with
        it), and `StorageError`.
        """
        path = self.blob_path(sha256)
        received = partial.finish()
        if received.sha256 != sha256:
            partial.discard()
            raise DigestMismatchError(path, f"sha256:{sha256}", f"sha256:{received.sha256}")
        folder = self.folder("blobs", "sha256", sha256[:2])
        try:
            partial.seal()
            with _locked_folder(folder) as fd:
                if self.has(sha256, received.size):
                    partial.discard()
                else:
                    partial.move(path)
                    os.fsync(fd)
        except OSError as error:
            raise storage_error("a file can't be taken into the store", path, error, elsewhere=SETTING) from None
        return path

    def corrupt(self, sha256: str) -> str | None:
        """Put a blob that holds other bytes where nobody finds it again; return where, None if there was none.

        Raises `StorageError`.
        """
        path = self.blob_path(sha256)
        if not os.path.lexists(path):
            return None
        away = os.path.join(self.folder("quarantine"), f"{sha256}.{secrets.token_hex(8)}")
        try:
            os.rename(path, away)
            with contextlib.suppress(OSError):
                os.utime(away)  # its days are counted from now
            sync_folder(os.path.dirname(path))
        except FileNotFoundError:  # another run was faster
            return None
        except OSError as error:
            raise storage_error("a damaged file can't be moved away", path, error, elsewhere=SETTING) from None
        return away

    # ---- trees

    def make_tree(self, ref_id: str, files: Mapping[str, str], *, folder: bool = False) -> str:
        """Give blobs the names that an engine wants, given as name and SHA-256; return what it is to open.

        That is the one file, or the first shard of one split; else, and always where a `folder` was asked for, the
        folder. Raises `UnsoundModelError` for names that can't be, and `StorageError`.
        """
        check_names(files, ref_id)
        path, links = self._tree(ref_id, files)
        if not is_tree(path, links):
            self.folder("trees", tree_key(ref_id))
            draft = os.path.join(self.folder(partial.FOLDER), f"tree.{secrets.token_hex(8)}")
            try:
                build(path, links, draft)
            except OSError as error:
                raise storage_error("the names of a model can't be made", path, error, elsewhere=SETTING) from None
        return _opened(path, files, folder=folder)

    def tree(self, ref_id: str, files: Mapping[str, str], *, folder: bool = False) -> str | None:
        """Return what `make_tree` would, if these blobs have their names already; None where one has not."""
        path, links = self._tree(ref_id, files)
        return _opened(path, files, folder=folder) if is_tree(path, links) else None

    def _tree(self, ref_id: str, files: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        path = os.path.join(self.root, "trees", tree_key(ref_id), tree_version(files))
        return path, {name: self._link(name, sha256) for name, sha256 in files.items()}

    def _link(self, name: str, sha256: str) -> str:
        # Relative, so that the store can be moved, and shared under another path.
        return "../" * (3 + name.count("/")) + os.path.relpath(self.blob_path(sha256), self.root)

    # ---- records

    def record(self, record: Record) -> None:
        """Keep what a reference stands for. Raises `StorageError`."""
        body = {
            "ref": record.ref,
            "revision": record.revision,
            "etag": record.etag,
            "files": [{"name": each.name, "sha256": each.sha256, "size": each.size} for each in record.files],
            "tree": os.path.relpath(record.tree, self.root),
        }
        path = os.path.join(self.folder("refs"), _record_name(record.ref))
        data = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self.write(path, data)

    def recorded(self, ref: str) -> Record | None:
        """Return what `ref` stood for when it was last fetched; None where nothing, or nothing sound, says so."""
        data = read_if_there(os.path.join(self.root, "refs", _record_name(ref)))
        try:
            return self._record(ref, json.loads(data or b""))
        except (ValueError, TypeError, KeyError, RecursionError, UnsoundModelError):
            return None

    def records(self) -> Iterator[Record]:
        """Yield what every reference stands for; what is no sound record is left out."""
        folder = os.path.join(self.root, "refs")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            data = read_if_there(os.path.join(folder, name))
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, UnsoundModelError):
                body = json.loads(data or b"")
                yield self._record(_text(body["ref"]), body)

    def forget(self, ref: str) -> None:
        """Let `ref` stand for nothing, so that its source is asked again. Raises `StorageError`."""
        remove_durably(os.path.join(self.root, "refs", _record_name(ref)))

    def _record(self, ref: str, body: dict[str, Any]) -> Record:
        files = tuple(
            StoredFile(name=_text(each["name"]), size=_count(each["size"]), sha256=_text(each["sha256"]))
            for each in body["files"]
        )
        for each in files:
            self.blob_path(each.sha256)
        tree = _text(body["tree"])
        check_names([each.name for each in files], ref)
        check_names([tree], ref)
        if body["ref"] != ref or not tree.startswith("trees/"):
            raise ValueError("a record of something else")
        return Record(
            ref=ref,
            revision=_text_or_none(body["revision"]),
            etag=_text_or_none(body["etag"]),
            files=files,
            tree=os.path.join(self.root, tree),
        )

    def write(self, path: str, data: bytes) -> None:
        """Write a small file whole or not at all, also where the file system has no locks. Raises `StorageError`."""
        draft = os.path.join(self._folder(partial.FOLDER), f"draft.{secrets.token_hex(8)}")
        try:
            with open(draft, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            sync_folder(os.path.dirname(path))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise storage_error("a file of the store could not be written", path, error, elsewhere=SETTING) from None

    # ---- what is left over

    def sweep(self) -> None:
        """Remove what nobody will ask for again: what lies on the way or in quarantine for seven days. Raises nothing.

        This is done before the first write, too.
        """
        before = time.time() - KEPT_S
        for folder in (partial.FOLDER, lease.FOLDER):
            with contextlib.suppress(OSError):
                partial.remove_dead(os.path.join(self.root, folder), before)
        with contextlib.suppress(OSError):
            flight.remove_unused(os.path.join(self.root, flight.FOLDER), before)
        for name, prefix in ((partial.FOLDER, "tree."), ("quarantine", "")):
            with contextlib.suppress(OSError), os.scandir(os.path.join(self.root, name)) as entries:
                for entry in entries:
                    if entry.name.startswith(prefix):
                        _remove_old(entry, before)


def _remove_old(entry: os.DirEntry[str], before: float) -> None:
    with contextlib.suppress(OSError):
        found = entry.stat(follow_symlinks=False)
        if max(found.st_mtime, found.st_ctime) >= before:
            return
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def _make_folder(path: str) -> None:
    """Make a folder and those above it, as the umask has it, but never for everybody to write."""
    if os.path.isdir(path):
        return
    try:
        os.mkdir(path, 0o775)
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))
        _make_folder(path)
        return
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    with contextlib.suppress(OSError):
        sync_folder(os.path.dirname(path))  # a blob must not vanish in a crash because its folder did


@contextlib.contextmanager
def _locked_folder(folder: str) -> Iterator[int]:
    """Yield the descriptor of a folder that no other publisher changes meanwhile, where the file system has locks."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _record_name(ref: str) -> str:
    return f"{hashlib.sha256(os.fsencode(ref)).hexdigest()}.json"


def _opened(path: str, files: Mapping[str, str], *, folder: bool) -> str:
    name = None if folder else _to_open(list(files))
    return path if name is None else os.path.join(path, name)


def _to_open(names: list[str]) -> str | None:
    """Return the file that stands for all of them: the only one, or the first shard of the split that they are."""
    first = min(names)
    shards = split_names(first)
    folder = os.path.dirname(first)
    if shards is not None and len(shards) > 1:
        return first if {os.path.join(folder, shard) for shard in shards} == set(names) else None
    return first if len(names) == 1 else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("not a number of bytes")
    return value
