"""Wrong: what came from a source and is no model (a page to log in, half of a file), or none of the kind that was asked for.

A record of what a reference resolved to would keep it for ever: no run asks the source of what is here. So the record says
that it is wrong where nobody said which bytes must come, and the next run asks the source again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import record_keys, resolve_entry
from model_provisioner.engine.verification.corruption import put_away_damaged
from model_provisioner.errors import ProvisionError, UnsoundModelError, WrongKindError
from model_provisioner.headers.reader import read_metadata
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.hashing.memo import Answer, FileDigest
    from model_provisioner.store.store import Store


def note_wrong(
    store: Store,
    entry: Entry,
    error: UnsoundModelError | WrongKindError,
    digests: Callable[[Sequence[str]], Sequence[Answer]],
) -> None:
    """Note of what was fetched for an entry, model or companions, what is wrong; `error` says then what a user can do.

    What a digest or the lock names is left, for its source would send the same again. Raises `DamagedError` where the bytes
    are not those that came, what keeps them from being read, and `StorageError`.
    """
    for part in entry.parts:
        if part.ref.is_local or not (paths := _wrong(store, part, error)):
            continue
        found: list[FileDigest] = []
        for answer in digests(paths):
            if isinstance(answer, ProvisionError):
                raise answer
            found.append(answer)
        put_away_damaged(store, found)
        if part.locked is not None:
            another = "a sound" if isinstance(error, UnsoundModelError) else "another"
            _also(error, f"if its source has {another} one by now, `{called(f'lock --upgrade {entry.name}')}` takes it")
        elif part.expected is None:
            for key in record_keys(part.ref, part.include, part.exclude):
                store.note_wrong(key, [each.sha256 for each in found])
            _also(error, "or run again, and its source is asked again")


def _wrong(store: Store, part: Entry, error: UnsoundModelError | WrongKindError) -> list[str]:
    """Return the files of a part of an entry if they are here and what is wrong."""
    try:
        files = resolve_entry(part, store)
    except ProvisionError:  # then the next run fetches it whatever it is
        return []
    try:
        read_metadata(files)
        wrong = isinstance(error, WrongKindError) and error.where == files.path
    except UnsoundModelError:
        wrong = True
    except ProvisionError:
        wrong = False
    return [member.path for member in files.members] if wrong else []


def _also(error: UnsoundModelError | WrongKindError, fix: str) -> None:
    error.fix = f"{error.fix}; {fix}" if error.fix else fix.removeprefix("or ")
