"""Register: write what was verified into the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model_provisioner.artifacts.catalog import Model, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.artifacts.catalog import Catalog
    from model_provisioner.models.config import Config, Entry
    from model_provisioner.tasks.examine import Verification

_FIELDS = tuple(name for name in Model.__dataclass_fields__ if not name.endswith("_at"))


def row_of(entry: Entry, config: Config, found: Verification) -> Model:
    """Return the catalog's row for a verified entry, without its times."""
    return describe(
        found,
        project=config.root,
        name=entry.name,
        strict=entry.strict,
        engine=entry.engine,
        config=config.path,
        handoff=entry.handoff,
    )


def describe(found: Verification, **policy: Any) -> Model:
    """Return the catalog's row for a verification, without its times; `policy` has what its bytes do not tell."""
    failed = found.outcome == "fail"
    return Model(
        id=found.ref.id,
        path=found.files.path,
        lifecycle="Failed" if failed else "Active",
        outcome=found.outcome,
        reason=f"the digest differs from the expected {found.expected}" if failed else None,
        digest=str(found.digest),
        expected=None if found.expected is None else str(found.expected),
        size=found.size,
        metadata=found.facts,
        source=str(found.ref) if found.ref.is_local else found.ref.id,
        revision=found.files.revision,
        **policy,
    )


def differing(row: Model, wanted: Model) -> list[str]:
    """Return the names of the fields, times apart, in which a row is not the one that would be written."""
    return [name for name in _FIELDS if getattr(row, name) != getattr(wanted, name)]


def register(catalog: Catalog, rows: Iterable[Model]) -> None:
    """Write rows, in one transaction; they were verified, and are in use, now."""
    time = now()
    catalog.put(*(replace(row, registered_at=time, verified_at=time, used_at=time) for row in rows))
