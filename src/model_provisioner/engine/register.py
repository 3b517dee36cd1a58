"""Register: write what was verified into the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model_provisioner.engine.entry_run import failing
from model_provisioner.engine.withdrawal.withdraw import fail
from model_provisioner.errors import DigestMismatchError
from model_provisioner.records.catalog.catalog import Model, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import InvalidMoveError
    from model_provisioner.records.catalog.catalog import Catalog

_FIELDS = tuple(name for name in Model.__dataclass_fields__ if not name.endswith("_at"))


def row_of(work: Workspace, entry: Entry, found: Verification) -> Model:
    """Return the catalog's row for a verified entry, without the times of its registration and use.

    Where the bytes come from is what this user's fetches noted: a store's own records may be anybody's.
    """
    fetched = None if found.ref.is_local else work.fetches.of(found.ref.ids, found.digest)
    return describe(
        found,
        source=str(found.ref) if found.ref.is_local else found.ref.id if fetched else None,
        revision=None if fetched is None else fetched.revision,
        project=work.config.root,
        name=entry.name,
        strict=entry.strict,
        engine=entry.engine or None,
        config=work.config.path or None,
        handoff=entry.handoff or None,
    )


def describe(found: Verification, **policy: Any) -> Model:
    """Return the catalog's row for a verification, without those times; `policy` has what its bytes do not tell."""
    failed = found.outcome == "fail"
    return Model(
        id=found.ref.id,
        path=found.files.path,
        lifecycle="Failed" if failed else "Active",
        outcome=found.outcome,
        reason=_reason(found),
        digest=str(found.digest),
        expected=None if found.expected is None else str(found.expected),
        size=found.size,
        metadata=found.metadata,
        audited_at=now() if found.in_full else None,
        **policy,
    )


def _reason(found: Verification) -> str | None:
    fault = found.fault
    if not isinstance(fault, DigestMismatchError):
        return None if fault is None else str(fault)
    of = f" of {fault.companion}" if fault.companion else ""
    return f"the digest{of} differs from the expected {fault.wanted}"


def differing(row: Model, wanted: Model) -> list[str]:
    """Return the names of the fields, times apart, in which a row is not the one that would be written."""
    return [name for name in _FIELDS if getattr(row, name) != getattr(wanted, name)]


def put_verified(catalog: Catalog, rows: Iterable[Model]) -> dict[str, InvalidMoveError]:
    """Write rows, in one transaction; they were verified, and are in use, now. Return, by name, what is not to be written."""
    time = now()
    return catalog.put(*(replace(row, registered_at=time, verified_at=time, used_at=time) for row in rows))


def register(work: Workspace, records: Sequence[EntryRun]) -> None:
    """Write verified entries into the catalog, in one transaction; one that is not to be written fails."""
    verified = [record for record in records if record.verification is not None]
    rows = [row_of(work, each.entry, each.verification) for each in verified if each.verification is not None]
    with failing(*verified):
        refused = put_verified(work.catalog, rows)
        for record in verified:
            if (error := refused.get(record.name)) is not None:
                fail(work, record, error)
