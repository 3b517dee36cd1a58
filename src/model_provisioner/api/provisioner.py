"""Make single models present, verified and registered, without a project."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Self

from model_provisioner.api.arguments import allowed, expected_digest, listener, reference
from model_provisioner.api.resolved import ResolvedModel
from model_provisioner.arguments import check_type, path_text
from model_provisioner.config.entries import Entry
from model_provisioner.config.network_policy import offline_reason, users_hosts
from model_provisioner.config.paths import DEFAULT_CACHE_DIR, asked_cache_dir
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.events import silent, waiting
from model_provisioner.engine.register import put_verified, row_of
from model_provisioner.engine.resolve import resolve, resolve_reference
from model_provisioner.engine.verify import verify
from model_provisioner.engine.withdrawal.withdraw import fail
from model_provisioner.engine.workspace import mirrors_of, without_project
from model_provisioner.errors import DigestMismatchError, ModelNotFoundError, NotAllowedError, ProvisionError
from model_provisioner.fs.locking.waits import waits_told
from model_provisioner.fs.state_folder import check_state_folder, ensure_state_folder, state_folder
from model_provisioner.records.catalog.catalog import NO_PROJECT, Catalog
from model_provisioner.references.digest import Digest, dirhash
from model_provisioner.references.mirror import users_mirrors
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef, OciRef, is_whole
from model_provisioner.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.engine.events import Progress
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.records.catalog.catalog import Model
    from model_provisioner.references.digest import Expected


@dataclass(frozen=True)
class _KnownAs(LocalRef):
    """Files on this disk that are registered under another reference than their path."""

    known_as: ModelRef = field(kw_only=True)

    @property
    def id(self) -> str:
        """That of the other reference."""
        return self.known_as.id


class ModelProvisioner:
    """Makes models present and verified, and keeps them in a catalog. Safe to use from several threads.

    Relative paths are taken from the working directory. Without a `catalog`, that of the user's state folder is used. What is
    fetched lands in `~/.cache/models`, or where `MODEL_PROVISIONER_CACHE_DIR` says. Raises `StorageError` for a state folder
    that can't be believed. A context manager, which closes what it opened.
    """

    def __init__(self, catalog: Catalog | None = None) -> None:
        check_type("catalog", catalog, (Catalog, NoneType), "a Catalog or None")
        self._catalog = catalog or Catalog(state_folder())
        self._state = os.path.dirname(self._catalog.path)
        check_state_folder(self._state)  # the program's own catalog lies in one, too
        cache_dir = os.path.abspath(os.path.expanduser(asked_cache_dir(None) or DEFAULT_CACHE_DIR))
        self._work = without_project(self._catalog, cache_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog and what else is open; the next call opens it again."""
        self._work.close()

    def ensure_present(
        self,
        ref: str | os.PathLike[str] | ModelRef,
        *,
        digest: Expected | str | None = None,
        allow: Iterable[str] = (),
        progress: Progress | None = None,
    ) -> ResolvedModel:
        """Make a model present, verified and registered. Nothing is fetched that is here, and nothing read that is known.

        `digest` is what its bytes must have. `allow` names the hosts that may be contacted, as `network.allow` of
        `models.yaml` does ("huggingface" stands for all hosts of the Hub); without any, nothing is contacted. `progress` is
        called with each `Event`, from any thread; what it raises ends the call, and comes out of it.

        Raises `InvalidReferenceError`, `InvalidDigestError` or `InputError` for the arguments; `ModelNotFoundError`,
        `NotAllowedError` or `FetchError` where the model can't be had; `DigestMismatchError` for other bytes;
        `UnreadableModelError`, `UnsoundModelError` or `ChangingModelError` for the model; `StorageError` for the records.
        """
        with waits_told(waiting(told := listener(progress))):
            return self._ensure(reference("ref", ref), expected_digest(digest), allowed(allow), told)

    def ensure_present_with_digest(
        self, ref: str | os.PathLike[str] | ModelRef, digest: Expected | str
    ) -> ResolvedModel:
        """Do as `ensure_present`, and raise `DigestMismatchError` where the bytes have another digest."""
        return self.ensure_present(ref, digest=digest)

    def register_model(
        self,
        id: str,  # noqa: A002  the contract's name
        path: str | os.PathLike[str],
        digest: Expected | str | None,
    ) -> ResolvedModel:
        """Register the file or folder at `path` under `id`, verified: raises as `ensure_present` does."""
        check_type("id", id, str, "a string")
        known_as = reference("id", id)
        path = LocalRef(path_text("path", path)).absolute(os.getcwd()).path
        return self._ensure(known_as, expected_digest(digest), (), silent, path)

    def exists(self, ref_or_id: str | os.PathLike[str] | ModelRef) -> bool:
        """Tell whether the model is on this machine. Nothing is written."""
        return self.locate(ref_or_id) is not None

    def locate(self, ref_or_id: str | os.PathLike[str] | ModelRef) -> Path | None:
        """Return where the model is on this machine, None where it is not. Nothing is written, and no byte is verified.

        It is looked for where the reference points, or where it was fetched to, then among the Active models of the catalog.
        A reference with a revision finds that revision only.
        """
        ref = reference("ref_or_id", ref_or_id)
        with contextlib.suppress(ProvisionError):
            return Path(resolve_reference(ref, self._work.store).path)
        row = self._registered(ref)
        return None if row is None or row.path is None else Path(row.path)

    def _registered(self, ref: ModelRef, expected: Expected | None = None) -> Model | None:
        """Return the row of a model that is registered under the id of `ref`, and there: best one with the expected digest.

        What a project has of a whole repository may be a part of it, and does not count.
        """
        revision = _revision(ref)
        rows = [
            row
            for row in Catalog.reader(self._state).by_id(ref.id)
            if row.lifecycle == "Active"
            and row.path is not None
            and (revision is None or row.revision == revision)
            and (row.project == NO_PROJECT or not is_whole(ref))
            and os.path.exists(row.path)
        ]
        rows.sort(key=lambda row: row.digest != str(expected))
        return rows[0] if rows else None

    def _ensure(
        self,
        ref: ModelRef,
        expected: Expected | None,
        allow: tuple[str, ...],
        progress: Progress,
        path: str | None = None,
    ) -> ResolvedModel:
        """Make the model of a reference present; with a `path`, register what lies there under the reference."""
        ensure_state_folder(self._state)
        offline = offline_reason()
        work = replace(
            self._work,
            config=replace(self._work.config, allow=allow),
            lease=Lease(self._work.store),
            progress=progress,
            hosts=users_hosts(),
            offline=offline,
            mirrors=mirrors_of(self._work.config, users_mirrors(), offline),
            received=set(),
        )
        was_here = self._catalog.get(NO_PROJECT, ref.id) is not None
        with contextlib.closing(work.lease):
            record = _record(ref, expected, path)
            registered = None
            try:
                if not record.entry.is_local and (registered := self._instead(work, record)) is not None:
                    record = _record(ref, expected, registered.path)
                self._obtain(work, record)
            except ProvisionError as error:
                if not was_here:  # what was never here is in no catalog
                    raise
                fail(work, record, error)
            if record.error is None:
                verify(work, [record])
            if (found := record.verification) is not None:
                if registered is not None and expected is None and str(found.digest) != registered.digest:
                    fail(work, record, _changed(found, registered))
                else:
                    return self._register(work, ref, found)
        assert record.error is not None
        raise record.error

    def _instead(self, work: Workspace, record: EntryRun) -> Model | None:
        """Return the registered model that a remote reference means; None where it was fetched, or is to be fetched."""
        from model_provisioner.engine.fetching.fetch import is_present

        if is_present(work, record):
            return None
        expected = record.entry.expected
        row = self._registered(record.entry.ref, expected)
        is_other = row is not None and expected is not None and row.digest != str(expected)
        return None if is_other and work.config.allow else row

    def _obtain(self, work: Workspace, record: EntryRun) -> None:
        """Find the files of a record, and fetch them where they are not here, or not those with the expected digest."""
        if not record.entry.is_local:
            from model_provisioner.engine.fetching.fetch import fetch_anew, fetch_for_program

            try:
                fetch_for_program(work, record)
            except NotAllowedError as error:
                if work.config.allow:
                    raise
                raise ModelNotFoundError(
                    "the model is not on this machine",
                    where=record.entry.ref.id,
                    expected="a model that was fetched, or hosts that may be asked for it",
                    found="no record that it was fetched, and allow names no host",
                    fix=error.fix,
                ) from None
            expected = record.entry.expected
            if work.config.allow and expected is not None and _digest_of(resolve(work, record)) != str(expected):
                with contextlib.suppress(NotAllowedError):  # then the bytes that are here are told
                    fetch_anew(work, record.entry)
                record.changed_outside()
        resolve(work, record)

    def _register(self, work: Workspace, ref: ModelRef, found: Verification) -> ResolvedModel:
        row = row_of(work, found.entry, found)
        for refused in put_verified(self._catalog, [replace(row, revision=row.revision or _revision(ref))]).values():
            raise refused
        return ResolvedModel.of(found)


def ensure_present(
    ref: str | os.PathLike[str] | ModelRef,
    *,
    digest: Expected | str | None = None,
    allow: Iterable[str] = (),
    progress: Progress | None = None,
) -> ResolvedModel:
    """Do as `ModelProvisioner.ensure_present`, with the catalog of the user's state folder."""
    with ModelProvisioner() as provisioner:
        return provisioner.ensure_present(ref, digest=digest, allow=allow, progress=progress)


def _record(ref: ModelRef, expected: Expected | None, path: str | None) -> EntryRun:
    """Return the record of an entry of no project: it has no handoff, and a file of any kind may be registered."""
    at = ref if path is None else _KnownAs(path, known_as=ref)
    return EntryRun(Entry(name=ref.id, ref=at, expected=expected, strict=True, engine="", handoff="", line=0))


def _digest_of(files: FileSet) -> str:
    """Return the digest of fetched files, by what the store has recorded of them."""
    fetched = files.fetched or {}
    return str(Digest("sha256", *fetched.values()) if files.kind == "file" else dirhash(fetched.items()))


def _changed(found: Verification, registered: Model) -> DigestMismatchError:
    """Return the error for registered bytes that are others now: they may be anything, and not what their id says."""
    return DigestMismatchError(
        found.files.path,
        str(registered.digest),
        str(found.digest),
        accepting=f"register them again as {registered.id}",
    )


def _revision(ref: ModelRef) -> str | None:
    if isinstance(ref, OciRef):
        return ref.digest
    return ref.revision if isinstance(ref, HubRef) else None
