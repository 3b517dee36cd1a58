"""The entries of a configuration with the lock file applied: one without a digest of its own has the lock's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from model_provisioner.config.entries import Companion, Entry, LazyEntries, Locked
from model_provisioner.config.lockfile import is_locked_as, lock_path, locked_ref, parse_lock
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from model_provisioner.config.entries import Config

Part = TypeVar("Part", Entry, Companion)


def with_lock(config: Config, lock: bytes | None, anew: Collection[str] = ()) -> Config:
    """Return the configuration with the bytes of the lock file applied to its entries.

    The entries `anew` are as they are written: they are about to be locked again, and what their lock says ends there.
    Raises `ConfigError` for the faults of the lock, and where an entry expects another digest than it says.
    """
    if lock is None:
        return config
    locked = {name: each for name, each in parse_lock(lock, lock_path(config)).items() if name not in anew}
    names = locked.keys() & config.entries.keys()
    if faults := [fault for name in names for fault in _contradictions(config, name, locked[name])]:
        raise ConfigError(config.path, sorted(faults, key=lambda fault: fault.what))
    return replace(config, entries=_LockedEntries(config.entries, locked, config.root))


def as_written(config: Config, name: str) -> Entry:
    """Return an entry as the configuration alone has it, whatever the lock file says."""
    entries = config.entries
    return entries.written[name] if isinstance(entries, _LockedEntries) else entries[name]


class _LockedEntries(LazyEntries):
    def __init__(self, written: Mapping[str, Entry], locked: Mapping[str, Locked], root: str) -> None:
        super().__init__(written, lambda name: _apply(written[name], locked.get(name), root))
        self.written = written


def _apply(entry: Entry, locked: Locked | None, root: str) -> Entry:
    """Return an entry with what the lock says of the model, and of each companion for itself."""
    if locked is None:
        return entry
    companions = (
        _with(each, _of_part(locked, part, root)) for each, part in zip(entry.companions, entry.parts[1:], strict=True)
    )
    return replace(_with(entry, _of_part(locked, entry, root)), companions=tuple(companions))


def _with(part: Part, locked: Locked | None) -> Part:
    if locked is None:
        return part
    return replace(part, locked=locked, expected=part.expected or locked.expected, by_lock=part.expected is None)


def _of_part(locked: Locked, part: Entry, root: str) -> Locked | None:
    """Return what one of an entry's parts resolved to; None where that was not locked, or something else was asked for."""
    asked = part.role, part.include, part.exclude
    for each in (locked,) if part.role == "model" else locked.companions:
        if asked == (each.role, each.include, each.exclude) and is_locked_as(each.ref, part.ref, root):
            ref = locked_ref(part.ref, root)
            return each if each.ref == ref else replace(each, ref=ref)
    return None


def _contradictions(config: Config, name: str, locked: Locked) -> Iterator[InputError]:
    for part in config.entries[name].parts:
        found = _of_part(locked, part, config.root)
        if found is None or part.expected is None or str(part.expected) == str(found.expected):
            continue
        yield InputError(
            f"the expected digest of {f'{part.label} of {name}' if part.label else name} is not the one in the lock file",
            where=f"{config.path}:{part.line}",
            expected=str(found.expected),
            found=str(part.expected),
            fix=f"if models.yaml is right, run `{called(f'lock --upgrade {name}')}`; if the lock file is, take expected_digest "
            "out of models.yaml",
        )
