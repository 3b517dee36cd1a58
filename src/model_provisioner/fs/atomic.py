"""Whole files or none: a reader sees the old bytes or the new ones, and a kill at any moment leaves one of the two."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, TextIO

from model_provisioner.fs.folder import write_all
from model_provisioner.fs.locking.locks import open_locked
from model_provisioner.fs.read import open_regular
from model_provisioner.fs.root import ANYWHERE
from model_provisioner.fs.unreachable import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from model_provisioner.errors import StorageError
    from model_provisioner.fs.folder import Folder
    from model_provisioner.fs.root import Roots


def write_atomically(path: str, data: bytes, roots: Roots = ANYWHERE) -> None:
    """Replace the file at `path` by `data`: temp file in the same folder, fsync, rename. Raises `StorageError`."""
    with drafted({path: data}, roots) as (drafts, errors):
        for error in errors.values():
            raise error
        for draft in drafts:
            draft.publish()


def discard_left(path: str) -> None:
    """Remove what a killed writer of the file at `path` left beside it, as far as that can be done.

    For who has nothing to write: a writer uses it. One that is at work is waited for.
    """
    above, name = os.path.split(path)
    with contextlib.suppress(OSError), ANYWHERE.anew() as here:
        folder = here.folder(above)
        if folder.has(_temp_of(name)):
            Draft(folder, name).close()


def _temp_of(name: str) -> str:
    if len(encoded := os.fsencode(name)) < 250:
        return f".{name}.tmp"
    # Its suffix could pass the 255 bytes a name may have. Cut names may be alike: that would be one lock for both.
    return f".{name[:50]}.{hashlib.sha256(encoded).hexdigest()[:16]}.tmp"


class Draft:
    """The new content of a file, in a temp file beside it.

    The temp file has one name for each target and is its own lock, so that two writers wait for each other, and what a
    killed writer left is used again by the next one instead of staying for ever. Raises `NotOursError` where what it is to
    replace is a link or no file, and `OSError`.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        folder.check(name)
        self._folder, self._name, self._temp = folder, name, _temp_of(name)
        self.published = False
        """Whether it is in its place."""
        self.path = folder.path_of(name)
        self._fd = open_locked(folder, self._temp, os.O_RDWR | os.O_CREAT)

    def write(self, data: bytes) -> None:
        """Let the temp file hold `data` and nothing else."""
        if os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, 0)
        write_all(self._fd, data)

    def take_mode(self) -> None:
        """Give it the rights of the file whose place it is to take, if there is one. Raises `OSError`."""
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(self._fd, stat.S_IMODE(self._folder.stat(self._name).st_mode))

    def start_writeback(self) -> None:
        """Let the disk begin: it writes many files in one go then, and a sync after that has half as long to wait."""
        if sys.platform == "linux":
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Wait until it is safely on the disk."""
        os.fsync(self._fd)

    def publish(self) -> os.stat_result:
        """Put it in its place; return its stat there. Raises `StorageError`, also where its folder was moved away meanwhile.

        A power cut may undo that until `drafted` ends.
        """
        try:
            if not self._folder.is_at_its_path():
                raise OSError(errno.ESTALE, "another folder took the place of the one that it was written in")  # noqa: TRY301  worded below
            self._folder.rename(self._temp, self._folder, self._name)
            self.published = True
            return os.fstat(self._fd)
        except OSError as error:
            raise _not_written(self.path, error) from None

    def sync_folder(self) -> None:
        """Wait until its folder is safely on the disk, with the name that it has there."""
        self._folder.sync()

    def close(self) -> None:
        """Close it; what was not published is removed, for on a full disk half a file is in everybody's way."""
        if not self.published:
            with contextlib.suppress(OSError):
                self._folder.unlink(self._temp)
        os.close(self._fd)


@contextlib.contextmanager
def drafted(
    files: Mapping[str, bytes], roots: Roots = ANYWHERE
) -> Iterator[tuple[list[Draft], dict[str, StorageError]]]:
    """Write drafts of all `files`, given by path; yield those that are safely on the disk, and what kept others from it.

    At the end of the block those that were published are safely in their places. Raises `StorageError` where they may not be.
    """
    here = roots.anew()
    drafts: list[Draft] = []
    errors: dict[str, StorageError] = {}
    try:
        for path in sorted(files):  # in one order: the drafts are locks
            above, name = os.path.split(path)
            try:
                drafts.append(Draft(here.make(above), name))
                drafts[-1].write(files[path])
            except OSError as error:
                errors[path] = _not_written(path, error)
        if len(drafts) > 1:
            for draft in drafts:
                draft.start_writeback()
        for draft in drafts:
            try:
                draft.sync()
            except OSError as error:
                errors.setdefault(draft.path, _not_written(draft.path, error))
        yield [draft for draft in drafts if draft.path not in errors], errors
        _sync_folders(drafts)
    finally:
        for draft in drafts:
            draft.close()
        here.close()


_NOT_SYNCED = (errno.EINVAL, errno.EACCES)
"""What is said of a folder that nobody can sync: by its file system, or where the user may not list it."""


def _sync_folders(drafts: Iterable[Draft]) -> None:
    """Wait until what was published is safely in its folders. Raises `StorageError`."""
    for above, draft in {os.path.dirname(draft.path): draft for draft in drafts if draft.published}.items():
        try:
            draft.sync_folder()
        except OSError as error:
            if error.errno not in _NOT_SYNCED:
                raise _not_written(above, error) from None


def _not_written(path: str, error: OSError) -> StorageError:
    return storage_error("a file could not be written", path, error)


def open_output(path: str) -> TextIO:
    """Open a file, and no link, for text that is written at its end as it comes. Raises `OSError`."""
    return open(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "a", encoding="utf-8")


@contextlib.contextmanager
def temporary_file(data: bytes, suffix: str) -> Iterator[str]:
    """Write a file for a library that takes a path only, and yield its path. Raises `OSError`."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        yield file.name


def remove_all_durably(paths: Iterable[str], roots: Roots = ANYWHERE) -> dict[str, bool | StorageError]:
    """Remove files so that they stay away after a crash; return by path whether each was there, or what kept it there."""
    removed: dict[str, bool | StorageError] = dict.fromkeys(paths, False)
    by_folder: dict[str, list[str]] = {}
    for path in removed:
        by_folder.setdefault(os.path.dirname(path), []).append(path)
    for above, some in by_folder.items():
        try:
            with roots.anew() as here:
                _remove_in(here.folder(above), some, removed)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            removed.update((path, storage_error("a file could not be removed", path, error)) for path in some)
    return removed


def _remove_in(folder: Folder, paths: Sequence[str], removed: dict[str, bool | StorageError]) -> None:
    """Remove files of one folder and note the results. Raises `OSError` where they may come back after a crash."""
    for path in paths:
        try:
            folder.check(os.path.basename(path))
            folder.unlink(os.path.basename(path))
            removed[path] = True
        except FileNotFoundError:
            pass
        except OSError as error:
            removed[path] = storage_error("a file could not be removed", path, error)
    if any(removed[path] is True for path in paths):
        folder.sync()
