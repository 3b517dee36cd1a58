"""The files that a user names for what a command writes, after `-o` or `--junit`: one place judges and writes them.

A file that is there is replaced only if it is empty or the command wrote it, which its bytes tell, or with `--force`. What a
project is made of is never replaced, with `--force` neither.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from model_provisioner.cli.project import CONFIG_NAME, find_config
from model_provisioner.config.lockfile import LOCK_NAME
from model_provisioner.errors import InputError, ProvisionError, StorageError
from model_provisioner.fs.atomic import open_output, write_atomically
from model_provisioner.fs.read import read_beginning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.engine.workspace import Workspace

STDOUT = "-"
LIMIT = 16 << 20
"""How many bytes of a file are read to tell what it is."""

_NAMES = {
    CONFIG_NAME: "a configuration",
    LOCK_NAME: "a lock file",
    **dict.fromkeys(("dodo.py", "doit.cfg", "pyproject.toml"), "a file of doit"),
}
_SUFFIXES = {".gguf": "a model", ".safetensors": "a model"}
_SAFETENSORS = re.compile(rb"(?s).{5}\0{3}\{")
_CHECKSUM = re.compile(rb"[0-9a-f]{64} [ *]")


@dataclass(frozen=True)
class OutputFile:
    """A file that the user named, and who is to write it."""

    named: str
    """Its path, absolute: commands go to the project's folder."""
    option: str
    command: str
    """As the user calls it."""
    is_own: Callable[[bytes], bool]
    """Tells of the first `LIMIT` bytes of a file whether the command wrote it, in any version."""
    force: bool

    def check(self) -> str:
        """Return the path that is to be written, with its links followed. Raises `InputError` where that must not be."""
        path = os.path.realpath(self.named)
        status = self._stat(path)
        if why := self._is_of_a_project(path, status):
            found = f"the place of {why}" if status is None else f"{why}, which was left as it is"
            raise self._refused(path, found, "name another file: --force does not change that")
        if self.force or (status is None and not self._leads_out(path)):
            return path
        if status is None:
            found = f"a link of the project that leads out of it: {self.named}"
        elif self._is_free(path, status):
            return path
        else:
            found = "something else, which was left as it is"
        raise self._refused(path, found, f"name another file after {self.option}, or add --force to replace this one")

    def write(self, data: bytes, *, what: str, fix: str) -> str:
        """Write the file, whole or not at all, and return its path.

        Raises `InputError` as `check` does, and a `StorageError` that says `what` and `fix`.
        """
        path = self.check()
        try:
            write_atomically(path, data)
        except StorageError as error:
            raise StorageError(what, where=path, expected=error.expected, found=error.found, fix=fix) from None
        return path

    def open(self) -> TextIO:
        """Replace the file by an empty one, and open that for text as it comes. Raises `InputError` and `OSError`."""
        path = self.check()
        os.stat(os.path.dirname(path))  # a mistyped folder is not made
        write_atomically(path, b"")
        return open_output(path)

    # ---- what is there

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if not self.named.endswith("/"):
                return None
            found = "a folder"
        except OSError as error:
            found = error.strerror or str(error)
        else:
            if stat.S_ISREG(status.st_mode):
                return status
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "something that is no file, and was left as it is"
        raise self._refused(path, found, f"name a file after {self.option}")

    def _is_free(self, path: str, status: os.stat_result) -> bool:
        if not status.st_size:
            return not self._leads_out(path)
        return self.is_own(self._read(path))

    def _read(self, path: str) -> bytes:
        try:
            return read_beginning(path, LIMIT)
        except OSError as error:
            found = f"a file that can't be read: {error.strerror or error}"
            raise self._refused(path, found, f"name another file after {self.option}") from None

    def _leads_out(self, path: str) -> bool:
        """Tell whether a path in the project leads out of it: by a link that a stranger may have put there."""
        config = find_config(os.getcwd())
        if config is None:
            return False
        inside = f"{os.path.dirname(config)}/"
        return os.path.normpath(self.named).startswith(inside) and not path.startswith(inside)

    def _is_of_a_project(self, path: str, status: os.stat_result | None) -> str:
        """Return what of a project's own a file is, nothing where it is none of that."""
        for name in (path, self.named):
            last = os.path.basename(name)
            if found := _NAMES.get(last) or _SUFFIXES.get(os.path.splitext(last)[1].lower()):
                return found
        if status is not None and (found := _kind(self._read(path))):
            return found
        config = find_config(os.getcwd())
        if config is None:
            return ""
        from model_provisioner.engine.workspace import look_at_workspace
        from model_provisioner.fs.state_folder import state_folder

        try:
            with closing(look_at_workspace(config, state_folder(os.path.dirname(config)))) as work:
                return _part(work, path, status)
        except ProvisionError:
            if status is None or self._is_free(path, status):
                return ""
            return "a file that may be a model: the configuration can't be read"

    def _refused(self, path: str, found: str, fix: str) -> InputError:
        return InputError(
            f"{self.command} can't write what {self.option} names",
            where=path,
            expected=f"no file, an empty one, or one that {self.command} wrote",
            found=found,
            fix=fix,
        )


def _kind(data: bytes) -> str:
    """Return what a file is by its bytes, if no command may replace that."""
    from model_provisioner.records.handoff import is_handoff

    if data.startswith(b"GGUF") or _SAFETENSORS.match(data):
        return "a model"
    if data.startswith(b"SQLite format 3\0"):
        return "a database"
    if data.startswith(b"-----BEGIN "):
        return "a key or certificate"
    if _CHECKSUM.match(data):
        return "a checksum file"
    return "a handoff" if data.startswith(b"{") and is_handoff(data) else ""


def _part(work: Workspace, path: str, status: os.stat_result | None) -> str:
    """Return what of a project's configuration a file is, or of what lies in its folders."""
    config, entries = work.config, work.config.entries.values()
    ours = {
        work.state: "a file of the state folder",
        config.cache_dir: "a file of the store",
        os.path.join(config.runtime_dir, "digests"): "a checksum file",
        os.path.dirname(work.provenance_log): "a log of verifications",
        **dict.fromkeys(_local_paths(work), "a model"),
    }
    folders = {os.path.realpath(each): what for each, what in ours.items()}
    for above in _above(path):
        if above in folders:
            return folders[above]
    if path in config.handoffs:
        return "a handoff"
    sources = {config.path: "a configuration", work.lock.path: "a lock file"}
    signatures = (file for entry in entries if entry.signature is not None for file in entry.signature.files)
    sources |= dict.fromkeys(signatures, "a key or signature")
    for source, what in sources.items():
        if os.path.realpath(source) == path:
            return what
    if status is not None and (status.st_dev, status.st_ino) in _model_files(work):
        return "a model"
    return ""


def _above(path: str) -> Iterator[str]:
    """Yield a path and the folders above it."""
    while True:
        yield path
        folder = os.path.dirname(path)
        if folder == path:
            return
        path = folder


def _local_paths(work: Workspace) -> Iterator[str]:
    from model_provisioner.references.reference import LocalRef

    for entry in work.config.entries.values():
        yield from (part.ref.path for part in entry.parts if isinstance(part.ref, LocalRef))


def _model_files(work: Workspace) -> set[tuple[int, int]]:
    """Return device and inode of every file that an entry consists of: shards and links to files elsewhere are among them."""
    from model_provisioner.engine.resolve import resolve_entry

    found = set()
    for entry in work.config.entries.values():
        with suppress(ProvisionError):
            for member in resolve_entry(entry, work.store).members:
                with suppress(OSError):
                    status = os.stat(member.path)
                    found.add((status.st_dev, status.st_ino))
    return found
