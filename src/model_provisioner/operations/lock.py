"""Lock: write down what every entry resolves to now, so that it resolves to nothing else tomorrow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.config.entries import Locked, LockedFile, accepting, label_of
from model_provisioner.config.locked import as_written
from model_provisioner.config.lockfile import is_locked_as, lock_path, locked_ref, parse_lock, render_lock
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import counting
from model_provisioner.engine.fetching.fetch import fetch, fetch_anew, is_present, listing_of
from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.verification.corruption import put_away_damaged
from model_provisioner.engine.verification.examine import read_headers
from model_provisioner.engine.verification.outcome import digest_of, matches
from model_provisioner.engine.verification.wrong import note_wrong
from model_provisioner.errors import (
    DigestMismatchError,
    ModelNotFoundError,
    ProvisionError,
    StorageError,
    UnsoundModelError,
    WrongKindError,
)
from model_provisioner.fs.atomic import discard_left, write_atomically
from model_provisioner.fs.unreachable import RUNTIME_SETTING
from model_provisioner.hashing.confirmed import confirmed
from model_provisioner.invocation import command as called
from model_provisioner.references.reference import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from model_provisioner.config.entries import Config, Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import Answer, FileDigest


@dataclass(frozen=True)
class NewLock:
    """What to write to the lock file, and which entries could not be locked."""

    models: dict[str, Locked]
    failed: dict[str, ProvisionError]
    """Why, by entry: in `models` they are as the lock file has them, if it does."""


def lock(work: Workspace, found: NewLock, upgrade: Collection[str] = ()) -> None:
    """Fill in what to write to the lock file: what it has where that still applies, the rest as it is now.

    The entries `upgrade` are locked again, remote ones to what their source has now. An entry that can't be fetched or read
    stops no other. Raises `StorageError`.
    """
    before = {} if work.lock.data is None else parse_lock(work.lock.data, lock_path(work.config))
    for name, entry in work.config.entries.items():
        try:
            found.models[name] = lock_entry(work, entry, again=name in upgrade)
        except StorageError:
            raise
        except ProvisionError as error:
            found.failed[name] = error
            if name in before:
                found.models[name] = before[name]


def lock_entry(work: Workspace, entry: Entry, *, again: bool = False) -> Locked:
    """Return what an entry and its companions are locked as: as they are, and those that are not yet as they are now."""
    model, *companions = (
        part.locked if part.locked is not None and not again else _locked_now(work, written, again)
        for part, written in zip(entry.parts, as_written(work.config, entry.name).parts, strict=True)
    )
    if companions and (again or any(part.locked is None for part in entry.parts)):
        _check_together(work, entry, model, companions)
    return replace(model, companions=tuple(companions))


def _check_together(work: Workspace, entry: Entry, model: Locked, companions: Sequence[Locked]) -> None:
    """Raise `WrongKindError` where the companions of an entry are none of its model, if all that is locked is here."""
    beside = (replace(each, locked=locked) for each, locked in zip(entry.companions, companions, strict=True))
    whole = replace(entry, locked=model, companions=tuple(beside))
    try:
        read_headers(whole, resolve_entry(whole, work.store))
    except ModelNotFoundError:
        pass  # what was locked before need not be fetched for this
    except WrongKindError as error:
        note_wrong(work.store, as_written(work.config, entry.name), error, partial(_confirmed, work))
        raise


def write_lock(work: Workspace, new: NewLock) -> bool:
    """Write the lock file; return whether its bytes changed. Raises `StorageError`.

    There is none afterwards where there was none and nothing could be locked.
    """
    data = render_lock(new.models)
    if data == work.lock.data or (work.lock.data is None and new.failed and not new.models):
        discard_left(lock_path(work.config))
        return False
    try:
        write_atomically(lock_path(work.config), data)
    except StorageError as error:
        if RUNTIME_SETTING in error.fix:  # which moves no lock file
            error.fix = (
                f"make this a place that you can write, or run `{called('lock')}` in another checkout "
                "and bring its lock"
            )
        raise
    return True


def locked_by_source(work: Workspace, part: Entry) -> Locked | None:
    """Return what the source of a remote entry without companions says that it is; None where it does not say every digest.

    Nothing is fetched. Raises as `listing_of` does.
    """
    listing = listing_of(work, part)
    files = []
    for file in listing.files:
        if file.sha256 is None or file.size is None:
            return None
        files.append(LockedFile(name=file.name, size=file.size, sha256=file.sha256))
    return Locked(
        ref=locked_ref(part.ref, work.config.root),
        kind=kind_of(part.ref, [file.name for file in files]),
        revision=listing.revision,
        files=tuple(files),
        include=part.include,
        exclude=part.exclude,
    )


def drift(work: Workspace) -> list[str]:
    """Return, in words, where the lock file, the configuration and the files that are here do not agree."""
    path = lock_path(work.config)
    if work.lock.data is None:
        return [f"there is no lock file: `{called('lock')}` writes it"]
    found = []
    locked = parse_lock(work.lock.data, path)
    names = locked.keys()
    for name in sorted(names | work.config.entries.keys()):
        entry = work.config.entries.get(name)
        if what := disagreement(name, entry, names):
            found.append(what)
        elif entry is not None:
            for part in entry.parts:
                if part.locked is not None:
                    found += _differences(work, part, part.locked)
            found += disagreements_beside(work.config, entry, locked[name])
    return found


def disagreement(name: str, entry: Entry | None, names: Collection[str]) -> str | None:
    """Say how the configuration and a lock file of the entries `names` disagree on one name; None where they do not."""
    if entry is None:
        return f"{name} is in the lock file and not in models.yaml"
    if name not in names:
        return f"{name} is not in the lock file"
    return f"{name} is locked by another reference than models.yaml has" if entry.locked is None else None


def disagreements_beside(config: Config, entry: Entry, locked: Locked) -> list[str]:
    """Say which companions of an entry are not in the lock file, and which are there and not in the configuration."""
    return [
        *(f"{entry.name}: {part.label} is not in the lock file" for part in entry.parts if part.locked is None),
        *(
            f"{entry.name}: {label_of(each.role, each.ref)} is in the lock file and not in models.yaml"
            for each in locked.companions
            if not any(part.role == each.role and is_locked_as(each.ref, part.ref, config.root) for part in entry.parts)
        ),
    ]


def locked_files(files: FileSet, digests: Sequence[FileDigest]) -> tuple[LockedFile, ...]:
    """Return files as the lock file names them."""
    return tuple(
        LockedFile(name=member.name, size=digest.identity.size, sha256=digest.sha256)
        for member, digest in zip(files.members, digests, strict=True)
    )


def compare_files(
    locked: Iterable[LockedFile], here: Iterable[LockedFile]
) -> list[tuple[LockedFile | None, LockedFile | None]]:
    """Return the files that are not as they are locked: first those that are not locked, then those that are not here."""
    there, now = ({file.name: file for file in files} for files in (locked, here))
    return [
        *((None, now[name]) for name in sorted(now.keys() - there.keys())),
        *((there[name], None) for name in sorted(there.keys() - now.keys())),
        *((there[name], now[name]) for name in sorted(there.keys() & now.keys()) if there[name] != now[name]),
    ]


def _locked_now(work: Workspace, entry: Entry, again: bool) -> Locked:
    """Return what an entry, or a part of one, resolves to now; `entry` is as it is written, without its lock.

    What lies in the store and neither this user fetched nor a digest names may be anybody's: its source is asked.
    """
    if entry.ref.is_local:
        return _as_locked(work, entry, *_sound(work, entry))
    if again:
        fetch_anew(work, entry)
    else:
        fetch(work, record := EntryRun(entry))
        if record.error is not None:
            raise record.error
    files, digests = _sound(work, entry)
    if not again and entry.expected is None and work.fetches.of(entry.ref.ids, digest_of(files, digests)) is None:
        fetch_anew(work, entry)
        files, digests = _sound(work, entry)
    return _as_locked(work, entry, files, digests)


def _sound(work: Workspace, entry: Entry) -> tuple[FileSet, list[FileDigest]]:
    """Return the files of an entry, and the digest of each. Raises where they are not sound, right, whole and as expected."""
    try:
        read_headers(entry, resolve_entry(entry, work.store))
    except (UnsoundModelError, WrongKindError) as error:
        note_wrong(work.store, entry, error, partial(_confirmed, work))
        raise
    files, digests = _read(work, entry, partial(_known, work))
    differs = entry.expected is not None and not matches(entry.expected, files, digests)
    if differs or any(work.store.blob_behind(each.path) not in {None, each.sha256} for each in digests):
        files, digests = _read(work, entry, partial(_confirmed, work))
    put_away_damaged(work.store, digests)
    if entry.expected is not None and not matches(entry.expected, files, digests):
        raise DigestMismatchError(
            files.path,
            str(entry.expected),
            str(digest_of(files, digests)),
            companion=entry.label,
            accepting=accepting(entry, str(digest_of(files, digests))),
        )
    return files, digests


def _known(work: Workspace, paths: Sequence[str]) -> list[Answer]:
    return work.memo.digests(paths, counting(work.progress))


def _confirmed(work: Workspace, paths: Sequence[str]) -> list[Answer]:
    """Return the digests of files that are about to be found wrong, for which no worker's word is enough."""
    return confirmed(work.memo, paths, counting(work.progress))


def _read(
    work: Workspace, entry: Entry, ask: Callable[[Sequence[str]], Sequence[Answer]]
) -> tuple[FileSet, list[FileDigest]]:
    """Return the files of an entry, and the digest of each. Raises `ProvisionError` where one can't be read."""
    files = resolve_entry(entry, work.store)
    digests = []
    for answer in ask([member.path for member in files.members]):
        if isinstance(answer, ProvisionError):
            raise answer
        digests.append(answer)
    return files, digests


def _as_locked(work: Workspace, entry: Entry, files: FileSet, digests: list[FileDigest]) -> Locked:
    fetched = None if entry.ref.is_local else work.fetches.of(entry.ref.ids, digest_of(files, digests))
    return Locked(
        ref=locked_ref(entry.ref, work.config.root),
        kind=files.kind,
        revision=None if fetched is None else fetched.revision,
        files=locked_files(files, digests),
        include=entry.include,
        exclude=entry.exclude,
        role=entry.role,
    )


def _differences(work: Workspace, entry: Entry, locked: Locked) -> list[str]:
    title = f"{entry.name}: {entry.label}" if entry.label else entry.name
    if not entry.ref.is_local and not is_present(work, EntryRun(entry)):
        return []  # it will be fetched as it is locked, or not at all
    try:
        now = _as_locked(work, entry, *_read(work, entry, partial(_known, work)))
        if any(compare_files(locked.files, now.files)):
            now = _as_locked(work, entry, *_read(work, entry, partial(_confirmed, work)))
    except ProvisionError as error:
        return [f"{title} can't be compared: {error.what}"]
    return [f"{title}: {_in_words(there, here)}" for there, here in compare_files(locked.files, now.files)]


def _in_words(locked: LockedFile | None, here: LockedFile | None) -> str:
    if locked is None or here is None:
        return f"{here.name} is not locked" if here else f"{locked.name if locked else ''} is locked and not here"
    if locked.sha256 == here.sha256:
        return f"{here.name} has {here.size:,} bytes, locked are {locked.size:,}"
    return f"{here.name} has sha256:{here.sha256}, locked is sha256:{locked.sha256}"
