"""The configuration as the rest of the program sees it: values without faults."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from model_provisioner.config.gc_pause import collector_paused
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.fs.read import NotAFileError, TooLargeError, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.config.lockfile import Locked
    from model_provisioner.config.signature import Claim
    from model_provisioner.references.digest import Expected
    from model_provisioner.references.reference import ModelRef

MAX_BYTES = 64 << 20
DEFAULT_CACHE_DIR = "~/.cache/models"
ROLES = ("mmproj", "lora")
"""What a file beside a model may be, by the field that names it: a projector, an adapter."""


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A file that an engine loads beside a model: it is part of what the entry stands for."""

    role: str
    """One of `ROLES`."""
    ref: ModelRef
    """Absolute where it is local."""
    expected: Expected | None = None
    locked: Locked | None = None
    """What the lock file says of this reference."""


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
    signature: Claim | None = None
    """Who is to have signed it."""
    locked: Locked | None = None
    """What the lock file says of this reference."""
    companions: tuple[Companion, ...] = ()
    role: str = "model"
    """What this is loaded as: one of `parts` may be a companion."""

    @property
    def parts(self) -> tuple[Entry, ...]:
        """The model alone, then its companions in their order, each as an entry that is fetched and found as any other."""
        if not self.companions:
            return (self,)
        alone = replace(self, companions=())
        return alone, *(
            replace(
                alone, role=each.role, ref=each.ref, expected=each.expected, locked=each.locked, include=(), exclude=()
            )
            for each in self.companions
        )

    @property
    def label(self) -> str:
        """What this part is called in a message: empty for the model, as `lora style.gguf` for a companion."""
        return "" if self.role == "model" else label_of(self.role, self.ref.id)

    @property
    def is_local(self) -> bool:
        """Tell whether nothing of it has to be fetched."""
        return self.ref.is_local and all(each.ref.is_local for each in self.companions)

    @property
    def is_locked(self) -> bool:
        """Tell whether the lock file names the model and every companion."""
        return self.locked is not None and all(each.locked is not None for each in self.companions)


def label_of(role: str, name: str) -> str:
    """Return what a companion is called in a message, given its path or id."""
    return f"{role} {name.rstrip('/').rpartition('/')[2]}"


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
        return read_file(path, MAX_BYTES)
    except NotAFileError:
        raise _unreadable(path, "a folder, a FIFO or a device", "name a file") from None
    except TooLargeError as error:
        raise _unreadable(path, f"{error.size:,} bytes", f"split it: at most {MAX_BYTES:,} bytes are read") from None
    except OSError as error:
        fix = "check the disk it lies on" if error.errno == errno.EIO else "check its name and its permissions"
        raise _unreadable(path, error.strerror or str(error), fix) from None


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
    from model_provisioner.config.document import read_document
    from model_provisioner.config.load import ConfigReader

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
