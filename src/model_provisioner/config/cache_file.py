"""The parsed configuration that the last run left in the state folder, for as long as it still means the same."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.config.cache import parse, render, still_holds
from model_provisioner.config.entries import asked_cache_dir, real_path
from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.read import read_if_there
from model_provisioner.fs.state_folder import ensure_state_folder, is_private, project_folder
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from model_provisioner.config.entries import Config

NAME = "config"
LIMIT = 256 << 20


@dataclass(frozen=True)
class Kept:
    """Where the parsed form of one configuration file is kept, and what it has to be the parsed form of."""

    state: str
    folder: str
    """The project's part of the state folder."""
    key: str
    """Stands for all that the meaning of the file depends on, but what is asked of the machine."""

    @staticmethod
    def of(source: bytes, path: str, cache_dir: str | None, state: str) -> Kept:
        """Return the place for the configuration file at `path`, whose bytes are `source`."""
        real = real_path(path)
        parts = [
            __version__,
            real,
            asked_cache_dir(cache_dir) or "",
            str(os.geteuid()),
            hashlib.sha256(source).hexdigest(),
        ]
        key = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
        return Kept(state, project_folder(state, os.path.dirname(real)), key)

    def read(self) -> Config | None:
        """Return the configuration; None where there is none that can be believed and still holds."""
        path = os.path.join(self.folder, NAME)
        if not is_private(self.state) or not is_private(path):
            return None  # whoever needs the state folder tells
        data = read_if_there(path, LIMIT)
        config = None if data is None else parse(data, self.key)
        return config if config is not None and still_holds(config) else None

    def write(self, config: Config) -> None:
        """Keep a configuration. It only saves time: where it can't be written, the next run parses the file again."""
        data = render(config, self.key)
        if data is None:
            return
        with suppress(StorageError):
            ensure_state_folder(self.state)
            write_atomically(os.path.join(self.folder, NAME), data)
