"""Resolve: from a reference to its files on this machine, without the network and without reading a byte."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.errors import ModelNotFoundError, NotLockedError, concerning
from model_provisioner.fs.fileset import Beside, FileSet, discover
from model_provisioner.headers.compatibility import no_folder, opened_in, opens_folders
from model_provisioner.invocation import command as called
from model_provisioner.references.digest import Digest
from model_provisioner.references.reference import HubRef, LocalRef, OciRef, OllamaRef, is_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.references.reference import ModelRef
    from model_provisioner.store.refs import Record
    from model_provisioner.store.store import Store


def resolve(work: Workspace, record: EntryRun) -> FileSet:
    """Return the files of an entry, which are looked for once a run. Raises as `resolve_entry` does."""
    if record.files is None:
        record.files = resolve_entry(record.entry, work.store)
    return record.files


def resolve_entry(entry: Entry, store: Store) -> FileSet:
    """Return the files of an entry and its companions: of a remote one those that the lock names, or the store's record.

    Raises `ModelNotFoundError`, `UnreadableModelError` or `UnsoundModelError`, the last also where the tree of fetched
    files holds anything else: it is never used as it is, and the next fetch makes it again.
    """
    alone, *companions = entry.parts
    files = _resolve_part(alone, store)
    if not companions:
        return files
    found = []
    for part in companions:
        with concerning(part.label):
            found.append(Beside(role=part.role, id=part.ref.id, files=_resolve_part(part, store)))
    return files.with_companions(found)


def _resolve_part(entry: Entry, store: Store) -> FileSet:
    files = _found(entry, store)
    if files.kind != "folder" or entry.role != "model":
        return files
    name = opened_in([member.name for member in files.members], entry.engine, _inside(entry))
    return files if name is None else files.opening(name)


def check_opened(entry: Entry, names: Collection[str]) -> None:
    """Raise `WrongKindError` where a remote folder of these files is nothing that the engine of an entry can open."""
    if entry.role != "model":
        return
    # Of a whole repository llama.cpp would load one file of many, and all would be fetched.
    is_repository = isinstance(entry.ref, HubRef) and is_whole(entry.ref)
    if is_repository and not (entry.include or entry.exclude or opens_folders(entry.engine)):
        raise no_folder(names, entry.engine, _inside(entry))
    opened_in(names, entry.engine, _inside(entry))


def _inside(entry: Entry) -> str:
    """Return what a file's path can be added to, to name that file."""
    if isinstance(entry.ref, OciRef | OllamaRef):
        return f"{entry.ref}#"
    return f"{entry.ref.path if isinstance(entry.ref, LocalRef) else str(entry.ref).rstrip('/')}/"


def _found(entry: Entry, store: Store) -> FileSet:
    if isinstance(entry.ref, LocalRef):
        return discover(entry.ref.path, stores=(store.blobs,))
    if entry.locked is not None:
        return _fetched(entry.ref, store, {file.name: file.sha256 for file in entry.locked.files})
    expected = entry.expected
    one = {"": expected.value} if isinstance(expected, Digest) and expected.algo == "sha256" else None
    return _recorded(entry.ref, store, record_of(entry, store), one)


def _recorded(ref: ModelRef, store: Store, record: Record | None, expected: Mapping[str, str] | None = None) -> FileSet:
    """Return what was fetched for a reference; `expected` has its SHA-256, for the error."""
    if record is None:
        raise _not_here(ref, store, expected)
    return _fetched(ref, store, {file.name: file.sha256 for file in record.files})


def _fetched(ref: ModelRef, store: Store, files: Mapping[str, str]) -> FileSet:
    """Return files of the store, given as name and SHA-256: exactly these."""
    if (tree := store.tree(ref.id, files, folder=is_whole(ref))) is None:
        raise _not_here(ref, store, files)
    try:
        found = discover(tree, stores=(store.blobs,))
    except ModelNotFoundError:  # a link of the tree leads nowhere
        raise _not_here(ref, store, files, tree) from None
    if not all(store.blob_behind(member.path) for member in found.members):  # a link is in the way to a blob
        raise _not_here(ref, store, files, tree)
    return replace(found, fetched=files)


def stored_files(entry: Entry, store: Store) -> dict[str, str]:
    """Return the names and SHA-256 of the files of a remote entry, as the lock or the store has them, here or not."""
    if entry.locked is not None:
        return {file.name: file.sha256 for file in entry.locked.files}
    record = record_of(entry, store)
    return {} if record is None else {file.name: file.sha256 for file in record.files}


def record_of(entry: Entry, store: Store) -> Record | None:
    """Return what was last fetched for a reference, by whichever of its texts; None where the store has no record of it."""
    return _first(store, record_keys(entry.ref, entry.include, entry.exclude))


def record_keys(ref: ModelRef, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    """Return the texts under which the store may keep what was fetched for a reference; new records have the first."""
    patterns = [*(f"+{pattern}" for pattern in include), *(f"-{pattern}" for pattern in exclude)]
    return [" ".join([text, *patterns]) for text in ref.texts]


def _first(store: Store, keys: Sequence[str]) -> Record | None:
    return next((record for key in keys if (record := store.recorded(key)) is not None), None)


def resolve_reference(ref: ModelRef, store: Store) -> FileSet:
    """Return the files of a reference: where it points, or what was fetched for it. Raises as `resolve_entry` does."""
    if isinstance(ref, LocalRef):
        return discover(ref.path, stores=(store.blobs,))
    return _recorded(ref, store, _first(store, record_keys(ref)))


def _not_here(
    ref: ModelRef, store: Store, files: Mapping[str, str] | None = None, tree: str = ""
) -> ModelNotFoundError:
    """Return the error for a model that can't be opened, of which so much is known: its `files`, and that it has a `tree`."""
    gone = [name for name, sha256 in (files or {}).items() if not store.has(sha256)]
    what, found = (
        "the model is not on this machine",
        "no record that it was fetched" if files is None else "no file of it",
    )
    if tree and gone:
        more = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
        what, found = "a fetched file is gone from the store", f"no blob of {gone[0]}{more}"
    elif files and not gone:
        what, found = "the bytes of the model are here, and not yet under its name", "its files in the store"
    return ModelNotFoundError(
        what,
        where=ref.id,
        expected="a model that was fetched",
        found=found,
        fix=f"run `{called('provision')}`, which fetches what is missing where network.allow has its host",
    )


def not_locked(work: Workspace, entry: Entry) -> NotLockedError:
    """Return the error for an entry, or a part of one, that the lock does not name, in a run that takes no other."""
    part = next(part for part in entry.parts if part.locked is None)
    what = f"{part.label} of {part.name}" if part.label else part.name
    return NotLockedError(
        f"{what} is not in the lock file as models.yaml has it, and this run takes no other model",
        where=f"{work.config.path}:{entry.line}",
        expected="an entry in models.lock of the same reference",
        found="none, or one of another reference",
        fix=f"run `{called('lock')}` where you may, and commit models.lock",
    )
