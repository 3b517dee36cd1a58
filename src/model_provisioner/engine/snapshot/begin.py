"""How a run begins: what is current by the snapshot is left alone, what can't be confirmed of the rest is withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from model_provisioner.engine.run import Run
    from model_provisioner.engine.snapshot.compare import Shortcut


def sweep_what_moved(run: Run, found: Shortcut | None, names: Iterable[str], *, orphans: bool) -> Shortcut | None:
    """Withdraw what can't be confirmed of these entries, and `orphans`, before any work; raises as `Run.sweep` does.

    Return what the snapshot says, None where the configuration or the lock was written since it was compared: what was
    current then may not be so any more.
    """
    if found is not None and (found.source, found.lock) != (run.work.source.data, run.work.lock.data):
        found = None
    looked: Collection[str] = ()
    if found is not None:
        run.unchanged = frozenset(found.same) & run.work.config.entries.keys()
        looked = run.unchanged.union(found.retired)
    # Where the snapshot says anything, no configuration and no record moved since the run that left no orphan.
    run.sweep([name for name in names if name not in looked], orphans=orphans and found is None)
    return found
