"""The entries of a configuration as the lock file holds them: without a digest of their own they have the lock's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.config.lockfile import LOCK_NAME, Locked, parse_lock
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.config.entries import Config, Entry

LIMIT = 256 << 20


def lock_path(config: Config) -> str:
    """Return where the lock file of a configuration lies: beside it."""
    return os.path.join(os.path.dirname(config.path), LOCK_NAME)


def read_lock(path: str) -> bytes | None:
    """Return the bytes of the lock file, None where there is none. Raises `ConfigError` for what is no file."""
    if not may_be_there(path):
        return None
    data = read_if_there(path, LIMIT)
    if data is None:
        fault = InputError(
            "the lock file can't be read",
            where=path,
            expected=f"a file of at most {LIMIT:,} bytes that you may read",
            fix="mend that, or remove it: then nothing is locked",
        )
        raise ConfigError(path, [fault])
    return data


def held(config: Config, lock: bytes | None) -> Config:
    """Return the configuration with its entries as the bytes of the lock file hold them.

    Raises `ConfigError` for the faults of the lock, and where an entry expects another digest than it says.
    """
    if lock is None:
        return config
    path = lock_path(config)
    locked = parse_lock(lock, path)
    entries = _Held(config.entries, locked, config.root)
    faults = [fault for name in locked.keys() & config.entries.keys() for fault in _unlike(config, name, locked[name])]
    if faults:
        raise ConfigError(config.path, sorted(faults, key=lambda fault: fault.what))
    return replace(config, entries=entries)


def as_written(config: Config, name: str) -> Entry:
    """Return an entry as the configuration alone has it, whatever the lock file says."""
    entries = config.entries
    return entries.written[name] if isinstance(entries, _Held) else entries[name]


class _Held(Mapping[str, "Entry"]):
    """The entries by name; each of them is made when it is asked for."""

    def __init__(self, entries: Mapping[str, Entry], locked: Mapping[str, Locked], root: str) -> None:
        self.written, self._locked, self._root = entries, locked, root
        self._made: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name not in self._made:
            entry = self.written[name]
            locked = self._locked.get(name)
            self._made[name] = entry if locked is None else _hold(entry, locked, self._root)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.written)

    def __len__(self) -> int:
        return len(self.written)

    def __contains__(self, name: object) -> bool:
        return name in self.written


def _hold(entry: Entry, locked: Locked, root: str) -> Entry:
    """Return an entry with the parts that the lock names held to it, the model and each companion for itself."""
    model, *companions = (
        part if (found := locked.of_part(part, root)) is None else _held_to(part, found) for part in entry.parts
    )
    theirs = tuple(
        replace(each, expected=part.expected, locked=part.locked)
        for each, part in zip(entry.companions, companions, strict=True)
    )
    return replace(model, companions=theirs)


def _held_to(part: Entry, locked: Locked) -> Entry:
    return replace(part, locked=locked, expected=part.expected or locked.expected)


def _unlike(config: Config, name: str, locked: Locked) -> Iterator[InputError]:
    for part in config.entries[name].parts:
        found = locked.of_part(part, config.root)
        if found is None or part.expected is None or str(part.expected) == str(found.expected):
            continue
        yield InputError(
            f"the expected digest of {f'{part.label} of {name}' if part.label else name} is not the one in the lock file",
            where=f"{config.path}:{part.line}",
            expected=str(found.expected),
            found=str(part.expected),
            fix=f"correct the one that is wrong; `doit model-lock --upgrade {name}` writes the lock anew",
        )
