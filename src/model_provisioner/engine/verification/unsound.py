"""Unsound: what came from a source and is no model, as a page to log in or the first half of a file.

A record of what a reference resolved to would keep it for ever: no run asks the source of what is here. So it is forgotten
where nobody said which bytes must come, and the next run asks the source again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import record_key, resolve_entry
from model_provisioner.engine.verification.corruption import put_away_damaged
from model_provisioner.errors import ProvisionError, UnsoundModelError
from model_provisioner.headers.reader import read_metadata
from model_provisioner.references.reference import UrlRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.hashing.memo import Answer, FileDigest
    from model_provisioner.store.store import Store


def put_away_unsound(
    store: Store, entry: Entry, error: UnsoundModelError, digests: Callable[[Sequence[str]], Sequence[Answer]]
) -> None:
    """Put away what was fetched for an entry, model or companions, and is unsound; `error` says so then.

    What a digest or the lock names stays, for its source would send the same again. Raises `DamagedError` where the bytes
    are not those that came, what keeps them from being read, and `StorageError`.
    """
    for part in entry.parts:
        if part.ref.is_local or not (paths := _unsound(store, part)):
            continue
        found: list[FileDigest] = []
        for answer in digests(paths):
            if isinstance(answer, ProvisionError):
                raise answer
            found.append(answer)
        put_away_damaged(store, found)
        if part.locked is not None:
            _also(error, f"if its source has a sound one by now, `doit model-lock --upgrade {entry.name}` takes it")
        elif part.expected is None:
            _also(error, "or run again, and its source is asked again" + _put_away(store, part))


def _unsound(store: Store, part: Entry) -> list[str]:
    """Return the files of a part of an entry if they are here and no sound model."""
    try:
        files = resolve_entry(part, store)
    except ProvisionError:  # then the next run fetches it whatever it is
        return []
    try:
        read_metadata(files)
    except UnsoundModelError:
        return [member.path for member in files.members]
    except ProvisionError:
        pass
    return []


def _put_away(store: Store, part: Entry) -> str:
    """Forget what a part resolved to. Return where its bytes are now, in words, where only their transfer tells of them."""
    record = store.recorded(record_key(part.ref, part.include, part.exclude))
    if record is None:  # another run was faster
        return ""
    store.forget(record)
    if not isinstance(part.ref, UrlRef):
        return ""  # its source lists them as they are: they are not fetched a second time
    others = {file.sha256 for each in store.records() for file in each.files}
    away = [store.put_away(file.sha256) for file in record.files if file.sha256 not in others]
    return "".join(f"; what came is kept for a week as {each}" for each in away[:1] if each is not None)


def _also(error: UnsoundModelError, fix: str) -> None:
    error.fix = f"{error.fix}; {fix}" if error.fix else fix.removeprefix("or ")
