"""The Python API: what an engine provisioner calls instead of the shell."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model_provisioner.config.entries import Entry
from model_provisioner.config.paths import DEFAULT_CACHE_DIR, asked_cache_dir
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.orphans import withdraw_orphans
from model_provisioner.engine.register import describe, put_verified
from model_provisioner.engine.resolve import resolve_reference
from model_provisioner.engine.run import Run
from model_provisioner.engine.verify import find_out
from model_provisioner.engine.withdraw import READ
from model_provisioner.engine.workspace import without_project
from model_provisioner.errors import ConfigError, InputError, ProvisionError
from model_provisioner.fs.state_folder import check_state_folder, ensure_state_folder, state_folder
from model_provisioner.records.catalog import NO_PROJECT, Catalog, Model
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.hashing.memo import Answer
    from model_provisioner.records.catalog import Outcome
    from model_provisioner.records.lifecycle import Lifecycle
    from model_provisioner.references.digest import Expected


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is present: its id, and the path to load it from."""

    id: str
    local_path: Path


class ModelProvisioner:
    """Makes models present and verified, and keeps them in a catalog. Safe to use from several threads.

    Relative paths are taken from the working directory. Without a `catalog`, that of the user's state folder is used. Raises
    `StorageError` for a state folder that can't be believed.
    """

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog or Catalog(state_folder())
        self._state = os.path.dirname(self._catalog.path)
        check_state_folder(self._state)  # the program's own catalog lies in one, too
        self._work = without_project(self._catalog, os.path.expanduser(asked_cache_dir(None) or DEFAULT_CACHE_DIR))

    def ensure_present(self, ref: str | ModelRef) -> ResolvedModel:
        """Verify that the model is here and sound, and register it. Nothing is fetched: there is no policy to ask.

        Raises `InvalidReferenceError`; `ModelNotFoundError`, `UnreadableModelError`, `UnsoundModelError` or
        `ChangingModelError` for the model; `StorageError` for the records.
        """
        return self._ensure(ref, None)

    def ensure_present_with_digest(self, ref: str | ModelRef, digest: Expected) -> ResolvedModel:
        """Do as `ensure_present`, and raise `DigestMismatchError` where the bytes have another digest."""
        return self._ensure(ref, digest)

    def register_model(self, id: str, path: str | os.PathLike[str], digest: Expected | None) -> ResolvedModel:  # noqa: A002  the contract's name
        """Register the file or folder at `path` under `id`, verified: raises as `ensure_present_with_digest` does."""
        return self._ensure(LocalRef(os.fspath(path)), digest, known_as=_parse(id))

    def exists(self, ref_or_id: str | ModelRef) -> bool:
        """Tell whether the model is on this machine. Nothing is written."""
        return self.locate(ref_or_id) is not None

    def locate(self, ref_or_id: str | ModelRef) -> Path | None:
        """Return where the model is on this machine, None where it is not. Nothing is written.

        A local reference is looked for on the disk, then, as any other, among the Active models of the catalog. A
        reference with a revision finds that revision only.
        """
        ref = _parse(ref_or_id)
        if isinstance(ref, LocalRef):
            with contextlib.suppress(ProvisionError):
                return Path(resolve_reference(ref, self._work.store).path)
        revision = _revision(ref)
        for row in Catalog.reader(self._state).by_id(ref.id):
            if row.lifecycle != "Active" or row.path is None or (revision and row.revision != revision):
                continue
            if os.path.exists(row.path):
                return Path(row.path)
        return None

    def _ensure(
        self, asked: str | ModelRef, expected: Expected | None, *, known_as: ModelRef | None = None
    ) -> ResolvedModel:
        ensure_state_folder(self._state)
        ref = _parse(asked)
        known_as = known_as or ref
        if not isinstance(ref, LocalRef) and (there := self.locate(ref)) is not None:
            ref = LocalRef(str(there))
        # An entry of no project: it has no handoff, and a file of any kind may be registered.
        entry = Entry(name=known_as.id, ref=ref, expected=expected, strict=True, engine="", handoff="", line=0)
        record = EntryRun(entry)
        find_out(self._work, [record], partial(self._digests, entry.name))
        found = record.verification
        if found is None or record.error is not None:
            assert record.error is not None
            if self._catalog.get(NO_PROJECT, entry.name) is not None:
                self._set_state(entry.name, "Failed", outcome="error", reason=str(record.error))
            raise record.error
        source = str(found.ref) if found.ref.is_local else found.ref.id
        row = describe(found, project=NO_PROJECT, name=entry.name, source=source, revision=_revision(known_as))
        row = replace(row, id=entry.name)
        for refused in put_verified(self._catalog, [row]).values():
            raise refused
        if found.outcome == "fail":
            raise found.mismatch()
        return ResolvedModel(entry.name, Path(found.files.path))

    def _digests(self, name: str, paths: Sequence[str]) -> list[Answer]:
        if any(self._work.memo.known(path) is None for path in paths):
            self._set_state(name, "Pending", outcome=None, reason=READ)
        return self._work.memo.digests(paths)

    def _set_state(self, name: str, lifecycle: Lifecycle, *, outcome: Outcome | None, reason: str | None) -> None:
        row = self._catalog.get(NO_PROJECT, name) or Model(project=NO_PROJECT, name=name, id=name, lifecycle=lifecycle)
        self._catalog.put(replace(row, lifecycle=lifecycle, outcome=outcome, reason=reason))


def provision_from_config_to_default_handoff(
    config: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None
) -> ResolvedModel:
    """Provision the one model of a configuration file and write its handoff; return the model.

    `cache_dir` wins over the environment, that over the file. Raises `ConfigError` for the faults of the file and for one
    that has more models than one, and what a failing step raises; then there is no handoff. Raises `StorageError` also where
    one that no entry claims any more can't be removed.
    """
    run = Run.begin(os.fspath(config), cache_dir=None if cache_dir is None else os.fspath(cache_dir))
    work = run.work
    if len(work.config.entries) != 1:
        fault = InputError(
            "the file must name exactly one model",
            where=work.config.path,
            expected="one entry",
            found=f"{len(work.config.entries)} entries",
            fix="run `doit provision` for a file of several models",
        )
        raise ConfigError(work.config.path, [fault])
    with run:
        try:
            (name,) = work.config.entries
            found = run.provision_one(name)
            _, trouble = withdraw_orphans(work)
        finally:
            run.finish()
    for error in trouble:
        raise error
    return ResolvedModel(found.ref.id, Path(found.files.path))


def _revision(ref: ModelRef) -> str | None:
    return ref.revision if isinstance(ref, HubRef) else None


def _parse(ref: str | ModelRef) -> ModelRef:
    parsed = ModelRef.parse(ref) if isinstance(ref, str) else ref
    return parsed.absolute(os.getcwd()) if isinstance(parsed, LocalRef) else parsed
