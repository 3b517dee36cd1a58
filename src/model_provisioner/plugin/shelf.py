"""What `model-list` and `model-prune` tell of the store: bytes, last use, and what may go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ProvisionError, printable
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.engine.eviction import Pruned, Standing
    from model_provisioner.records.catalog import Model
    from model_provisioner.store.store import Store


@dataclass(frozen=True)
class Shelf:
    """The models of a project in the store, and what else lies there."""

    store: Store
    stands: Pruned
    rows: Sequence[Model]

    def of(self, row: Model) -> dict[str, Any] | None:
        """Return what `model-list --json` says of a row; None of a model that does not lie in the store."""
        found = self._standing(row)
        return None if found is None else told(found)

    def lines(self) -> Iterable[str]:
        """Yield what `model-list` says after its table."""
        from model_provisioner.engine.eviction import day

        mine = [(row, found) for row in self.rows if (found := self._standing(row)) is not None]
        yield ""
        yield f"in the store, {filling(self.stands.size, self.stands.limit)}:"
        for row, found in mine:
            may_go = f"stays: {found.held}" if found.held else "may go"
            yield f"  {row.name}  {human(found.item.size)}  last used {day(found.used)}  {printable(may_go)}"
        places = {found.item.place for _, found in mine}
        others = [each for each in self.stands.stay if each.item.place not in places]
        if others:
            free = sum(each.frees for each in others)
            yield f"  and what this project does not name: {human(free)} of it may go (doit model-prune --dry-run)"

    def _standing(self, row: Model) -> Standing | None:
        from model_provisioner.engine.retention import tree_of

        place = tree_of(self.store, row.path or "")
        return next((each for each in self.stands.stay if place and each.item.place == place), None)


def shelf_here(rows: Sequence[Model]) -> Shelf | None:
    """Return what the store has of the project here; None for one whose models are all local, and where it can't be told."""
    if all(row.id.startswith("local:") for row in rows):
        return None
    from model_provisioner.engine.eviction import look
    from model_provisioner.engine.workspace import look_at_workspace
    from model_provisioner.fs.state_folder import state_folder
    from model_provisioner.plugin.names import CONFIG_NAME
    from model_provisioner.plugin.queries import project_root

    root = project_root()
    os.chdir(root)
    try:
        work = look_at_workspace(os.path.join(root, CONFIG_NAME), state_folder())
        return Shelf(work.store, look(work), rows)
    except ProvisionError:  # the list is of the catalog: a fault of models.yaml keeps nobody from it
        return None


def told(standing: Standing) -> dict[str, Any]:
    """Return a part of the store as JSON tells it."""
    return {
        "name": standing.name,
        "kind": standing.item.kind,
        "bytes": standing.item.size,
        "last_used": _time(standing.used),
        "may_go": not standing.held,
        "held_by": standing.held or None,
    }


def filling(size: int, limit: int | None) -> str:
    """Return how full the store is, in words."""
    return f"which holds {human(size)}" + ("" if limit is None else f" of {human(limit, size)}")


def _time(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
