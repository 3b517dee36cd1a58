"""Damage: what relied on a blob of the store that holds other bytes than its name says, in every project of the user.

The records say what did, and not the configurations: a project may be gone, have faults, or run in another environment.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from model_provisioner.config.paths import DIGESTS
from model_provisioner.engine.withdrawal.withdraw import check_writer, remove, unseen
from model_provisioner.engine.workspace import of_row
from model_provisioner.errors import OccupiedError, ProvisionError, StorageError
from model_provisioner.fs.fileset import discover
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.provenance.verifications import Verifications
from model_provisioner.records.handoff import files_named, handoff_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import DamagedError
    from model_provisioner.provenance.record import ProvenanceRecord
    from model_provisioner.records.catalog.catalog import Catalog, Model
    from model_provisioner.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """An entry whose model has a damaged blob."""

    row: Model
    """As the catalog has it now."""
    withdrawn: bool
    """Whether it had a handoff, which is gone."""
    trouble: tuple[ProvisionError, ...]
    """What keeps its handoff or checksum file there."""


def fail_dependents(catalog: Catalog, store: Store, sha256: str, error: DamagedError) -> Iterator[Dependent]:
    """Fail the entries of all projects whose models have the blob with this SHA-256, with `error`; yield each.

    Their handoffs and checksum files are withdrawn first. A retired entry stays retired. Raises `StorageError` where the
    catalog can't be read or written.
    """
    if (blob := stat_or_none(store.blob_path(sha256))) is None:
        return
    bytes_of_it = {
        sha256,
        error.actual.removeprefix("sha256:"),
    }  # without a strict policy it may be handed off as it is
    verifications = Verifications(catalog.database)
    for project, rows in groupby(catalog.all(), lambda row: row.project):
        records = verifications.of_project(project)
        for row in rows:
            record = records.get(row.name)
            if record is not None and bytes_of_it.isdisjoint(file.sha256 for file in record.files):
                continue
            with closing(of_row(catalog, row)) as work:
                if any(_is(path, blob) for path in _files(work, store, row, record)):
                    yield _fail(work, row, error)


def _is(path: str, blob: os.stat_result) -> bool:
    found = stat_or_none(path)
    return found is not None and os.path.samestat(found, blob)


def _files(work: Workspace, store: Store, row: Model, record: ProvenanceRecord | None) -> Iterator[str]:
    """Yield the files that an entry's handoff names, and those that its model and its companions have now."""
    yield from files_named(work.roots.read(row.handoff or "") or b"")
    companions = () if record is None else [each.get("path") for each in record.companions]
    for path in filter(None, (row.path, *companions)):
        with suppress(ProvisionError):
            yield from (member.path for member in discover(path, stores=(store.blobs,)).members)


def _fail(work: Workspace, row: Model, error: DamagedError) -> Dependent:
    trouble: list[ProvisionError] = []
    handoff = row.handoff or ""
    written = work.build_record.artifacts() if row.project else set()  # a program's model has neither of the two
    ours = [path for path in written if _is_checksums_of(path, row.name)]
    if handoff_id(work.roots.read(handoff) or b"") == row.id:
        try:
            check_writer(work, handoff, row.id)
            ours.append(handoff)
        except OccupiedError:
            pass  # another project's, whose own row says what is to be done
    elif handoff:
        trouble += unseen(work.roots, [handoff]).values()
    removed = remove(work, ours)
    trouble += (each for each in removed.values() if isinstance(each, StorageError))
    now = work.catalog.get(row.project, row.name) or row
    failed = replace(now, lifecycle="Failed", outcome="fail", reason=str(error))
    refused = work.catalog.put(failed)
    return Dependent(row=now if refused else failed, withdrawn=removed.get(handoff) is True, trouble=tuple(trouble))


def _is_checksums_of(path: str, name: str) -> bool:
    folder, last = os.path.split(path)
    return last == f"{name}.sha256" and os.path.basename(folder) == DIGESTS
