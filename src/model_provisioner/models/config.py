"""The configuration as the rest of the program sees it: values without faults."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.errors import ConfigError, InputError
from model_provisioner.models.collector import collector_paused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.models.digest import Expected
    from model_provisioner.models.lockfile import Locked
    from model_provisioner.models.reference import ModelRef

MAX_BYTES = 64 << 20
DEFAULT_CACHE_DIR = "~/.cache/models"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of a project: what it is, what it must be, and who gets it."""

    name: str
    ref: ModelRef
    """Absolute where it is local."""
    expected: Expected | None
    strict: bool
    engine: str
    handoff: str
    """The path of the handoff, absolute and without links but for its last name, inside the project."""
    line: int
    """Where the entry stands in the file."""
    include: tuple[str, ...] = ()
    """Of a whole repository or prefix, the patterns of the files to take; all of them where there is none."""
    exclude: tuple[str, ...] = ()
    """Of these, the patterns of the files to leave out."""
    keep: bool = False
    """Whether what was fetched for it stays in the store, however long nobody uses it."""
    locked: Locked | None = None
    """What the lock file says of this reference."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration without faults."""

    path: str
    root: str
    """The folder that relative paths are taken from, and that the handoffs lie in."""
    cache_dir: str
    runtime_dir: str
    allow: tuple[str, ...]
    recheck: Literal["xxh3", "sha256"]
    answers: tuple[tuple[str, str], ...]
    """What was asked of the machine, and the answers (see `Surroundings`): with another answer, another file is meant."""
    entries: Mapping[str, Entry]
    handoffs: tuple[str, ...]
    """Where they are handed off, in their order: for all of them at once, and no `Entry` is made."""
    max_size: int | None = None
    """How many bytes the store may hold; None where it has no bound."""
    remote: tuple[str, ...] = ()
    """The names of the entries that are fetched, in their order: a project without any asks nothing of the store."""

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Folders that are named here, and where they lead, where that is elsewhere."""
        return tuple(sorted((asked, real) for asked, real in self.answers if asked.startswith("/") and asked != real))


def read_config(path: str) -> bytes:
    """Return the bytes of a configuration file. Raises `ConfigError` for what is no file of a sensible size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "check its name and its permissions") from None
    with open(fd, "rb", closefd=True) if stat.S_ISREG(os.fstat(fd).st_mode) else _closing(fd, path) as file:
        if (size := os.fstat(fd).st_size) > MAX_BYTES:
            raise _unreadable(path, f"{size:,} bytes", f"split it: at most {MAX_BYTES:,} bytes are read")
        try:
            return file.read()
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error), "check the disk it lies on") from None


def _closing(fd: int, path: str) -> Any:
    os.close(fd)
    raise _unreadable(path, "a folder, a FIFO or a device", "name a file")


def _unreadable(path: str, found: str, fix: str) -> ConfigError:
    return ConfigError(
        shown_path(path), [InputError("the configuration can't be read", where=shown_path(path), found=found, fix=fix)]
    )


def parse_config(
    data: bytes, path: str, *, cache_dir: str | None = None, environ: Mapping[str, str] = os.environ
) -> Config:
    """Read the bytes of the configuration file at `path`.

    An explicit `cache_dir` wins over the environment, that over the file. Raises `ConfigError` with every fault.
    """
    from model_provisioner.models.config_reader import ConfigReader
    from model_provisioner.models.document import read_document

    with collector_paused():
        document = read_document(data, shown_path(path))
        return ConfigReader(document, real_path(path), asked_cache_dir(cache_dir, environ)).read()


def asked_cache_dir(cache_dir: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the cache folder that wins over the one in the file."""
    return cache_dir or environ.get("MODEL_PROVISIONER_CACHE_DIR")


def real_path(path: str) -> str:
    """Return a configuration's path as the records name it, however it is reached: without links but for its last name."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def shown_path(path: str) -> str:
    """Return a path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("..") else path
