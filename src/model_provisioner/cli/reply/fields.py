"""Models and errors as every JSON document has them. A field that is not known is None."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ConfigError, ProvisionError
from model_provisioner.fs.paths import may_be_there

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.engine.entry_run import Reason
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.records.catalog.catalog import Model

_SHARED = {"id", "state", "outcome", "digest", "size_bytes", "path", "handoff"}
"""The fields of a row that a model of the document has."""


def models_of(
    work: Workspace,
    names: Iterable[str],
    *,
    how: Mapping[str, str | None] | None = None,
    reasons: Mapping[str, Sequence[Reason]] | None = None,
) -> list[dict[str, Any]]:
    """Return entries as the catalog has them now, with what a command found beside that, by name."""
    rows: dict[str, Model] = {}
    with suppress(ProvisionError):  # which the command tells, if it needs the catalog
        rows = {row.name: row for row in work.catalog.of_project(work.config.root)}
    found = []
    for name in names:
        entry, row = work.config.entries[name], rows.get(name)
        row = row if row is not None and row.id == entry.ref.id else None  # else of what the entry named before
        found.append(
            model_fields(name, entry.ref.id, row, how=(how or {}).get(name), reasons=(reasons or {}).get(name))
        )
    return found


def model_fields(
    name: str, model_id: str, row: Model | None, *, how: str | None = None, reasons: Sequence[Reason] | None = None
) -> dict[str, Any]:
    """Return a model as documents have it: what its row of the catalog says, how it was confirmed, why there was work."""
    found: dict[str, Any] = {
        "name": name,
        "id": model_id,
        **dict.fromkeys(("state", "outcome", "digest", "size_bytes", "path", "handoff")),
        "how": how,
        "reasons": None if reasons is None else [{"step": each.step, "text": each.text} for each in reasons],
    }
    if row is not None:
        algo, _, value = (row.digest or "").partition(":")
        found |= {
            "state": row.lifecycle,
            "outcome": row.outcome,
            "digest": {"algo": algo, "value": value} if value else None,
            "size_bytes": row.size,
            "path": row.path,
            "handoff": row.handoff if row.handoff and may_be_there(row.handoff) else None,
        }
    return found


def row_fields(row: Model) -> dict[str, Any]:
    """Return what the catalog has of a model beside the fields of `model_fields`; the name and the project say whose it is."""
    return {name: value for name, value in row.as_json().items() if name not in _SHARED}


def errors_of(error: ProvisionError, model: str | None = None) -> list[dict[str, Any]]:
    """Return an error as documents have it, each fault of a configuration as one of its own."""
    return [
        error_fields(type(each).__name__, each.what, model, each.where, each.expected, each.found, each.fix)
        for each in (error.faults if isinstance(error, ConfigError) else (error,))
    ]


def error_fields(  # the parts in their order
    code: str, what: str, model: str | None, where: str = "", expected: str = "", found: str = "", fix: str = ""
) -> dict[str, Any]:
    """Return an error of any kind as documents have it."""
    parts = {"where": where, "expected": expected, "found": found, "fix": fix}
    return {"code": code, "model": model, "what": what, **{name: text or None for name, text in parts.items()}}
