"""What `model-list` and `model-prune` say of the store: bytes, last use, and what may be evicted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from model_provisioner.engine.retention.eviction import day, survey
from model_provisioner.engine.retention.roots import tree_of
from model_provisioner.errors import printable
from model_provisioner.invocation import command as called
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.engine.retention.eviction import Candidate, Eviction
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.records.catalog.catalog import Model


@dataclass(frozen=True)
class StoreView:
    """The store as a project sees it: what it has there of each model, and what else lies there."""

    store: Eviction
    models: Sequence[tuple[Model, Candidate | None]]
    """The project's rows of the catalog, and what the store has of each; None of a model that is not in the store."""

    @staticmethod
    def of(work: Workspace, rows: Sequence[Model]) -> StoreView:
        """Look at the store of a project whose rows of the catalog are given. Raises `StorageError`."""
        store = survey(work)
        here = {each.item.place: each for each in store.kept}
        begun = {each.item.ref: each for each in store.kept if each.item.kind == "download"}
        return StoreView(
            store, [(row, here.get(tree_of(work.store, row.path or "")) or begun.get(row.id)) for row in rows]
        )

    def by_name(self) -> dict[str, dict[str, Any] | None]:
        """Return what the store has of each model, by its name."""
        return {row.name: None if found is None else item_fields(found) for row, found in self.models}

    def lines(self) -> Iterable[str]:
        """Yield what `model-list` says after its table."""
        mine = [(row, found) for row, found in self.models if found is not None]
        yield ""
        yield f"in the store, {fill_level(self.store.size, self.store.limit)}:"
        for row, found in mine:
            may_go = f"stays: {found.held}" if found.held else "may go"
            part = "of it, " if found.item.kind == "download" else ""
            yield f"  {row.name}  {human(found.item.size)}  {part}last used {day(found.used)}  {printable(may_go)}"
        places = {found.item.place for _, found in mine}
        others = [each for each in self.store.kept if each.item.place not in places]
        if others:
            size = sum(each.frees for each in others)
            free = human(size) if size else "nothing"
            yield f"  and what this project does not name: {free} of it may go ({called('prune --dry-run')})"


def item_fields(found: Candidate) -> dict[str, Any]:
    """Return an item of the store as documents have it."""
    used = datetime.fromtimestamp(found.used, UTC).isoformat(timespec="seconds")
    return {
        "name": found.name,
        "kind": found.item.kind,
        "size_bytes": found.item.size,
        "last_used": used.replace("+00:00", "Z"),
        "may_go": not found.held,
        "held_by": found.held or None,
    }


def fill_level(size: int, limit: int | None) -> str:
    """Return how full the store is, in words."""
    return f"which holds {human(size)}" + ("" if limit is None else f" of {human(limit, size)}")
