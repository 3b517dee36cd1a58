"""Write the snapshot after a run: of what was found current, and of what was just done."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.snapshot.compare import (
    NAME,
    SNAPSHOT_LIMIT,
    catalog_change,
    catalog_file,
    doit_state,
    key_of,
)
from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.clock import let_tick, ticked
from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.identity import identity_of, identity_or_none
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import read_if_there
from model_provisioner.fs.root import Roots
from model_provisioner.fs.state_folder import project_folder
from model_provisioner.records.snapshot import Snapshot, parse, render

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run
    from model_provisioner.engine.snapshot.compare import Shortcut
    from model_provisioner.fs.identity import Identity
    from model_provisioner.records.snapshot import FileStat


def remember(run: Run, dep_file: str | None, found: Shortcut | None) -> None:
    """Write the snapshot. It only saves time: where it can't be written, the next run takes the long way.

    `found` is what the run found in the snapshot before it.
    """
    work = run.work
    path = os.path.join(project_folder(work.state, work.config.root), NAME)
    files = {} if found is None else _unchanged(path, found.key, run.unchanged - run.records.keys())
    fresh = [record for record in run.records.values() if _stands(record)]
    work.close()  # what SQLite still has to move into its files changes how they look
    work.memo.load(member.path for record in fresh for member in resolve(work, record).members)
    _wait(fresh, os.path.join(work.state, "catalog.db"))
    for record in fresh:
        with contextlib.suppress(OSError):
            if (seen := _seen(run, record)) is not None:
                files[record.name] = seen
    retired = _retired(run)
    files.update(retired)
    work.close()
    # What this run read, not what the files hold by now: the next run asks whether that is still the same.
    key = key_of(work.config.path, work.state, work.source.data or b"", work.lock.data)
    with contextlib.suppress(StorageError):
        # What another process notes in the catalog after this moves it; what it noted before is seen below.
        catalog, change = _at_rest(work.state), catalog_change(work.state, work.config.root)
        states = work.catalog.lifecycles(work.config.root)
        names = [name for name in files if states.get(name) == ("Retired" if name in retired else "Active")]
        snapshot = Snapshot(
            key=key,
            doit=doit_state(work.config.path, dep_file),
            catalog=change,
            catalog_file=catalog,
            links=work.config.links,
            names=names,
            files=[files[name] for name in names],
            retired=[name for name in names if name in retired],
            left=len(work.config.entries) - len(names),
        )
        write_atomically(path, render(snapshot), Roots(work.state, kind=PrivateFolder))


def _wait(records: Collection[EntryRun], catalog: str) -> None:
    """Let the tick end in which the last of these was written: in it, it could be written once more without a trace."""
    written = [each for record in records for each in record.artifacts.items()]
    if (seen := identity_or_none(catalog)) is not None:
        written.append((catalog, seen))
    last: dict[int, tuple[str, Identity]] = {}  # of each file system, for each has a clock of its own
    for path, seen in written:
        if seen.device not in last or last[seen.device][1].ctime_ns < seen.ctime_ns:
            last[seen.device] = path, seen
    for path, seen in last.values():
        let_tick(path, seen)


def _at_rest(state: str) -> str:
    """Return how the catalog's file looks, empty where a change of it could go unseen."""
    path = os.path.join(state, "catalog.db")
    now = identity_or_none(path)
    return catalog_file(state) if now is not None and ticked(path, now) else ""


def _stands(record: EntryRun) -> bool:
    """Tell whether this run found the entry current, or handed it off as it should be."""
    if record.published:
        return record.verification is not None and record.verification.outcome != "fail"
    return record.is_current and record.files is not None


def _unchanged(path: str, key: str, names: Collection[str]) -> dict[str, Sequence[FileStat]]:
    """Return what the last snapshot has of entries that this run did not examine, if nobody wrote another one since."""
    last = parse(read_if_there(path, limit=SNAPSHOT_LIMIT) or b"") if names else None
    if last is None or last.key != key:
        return {}
    return {name: files for name, files in zip(last.names, last.files, strict=True) if name in names}


def _retired(run: Run) -> dict[str, Sequence[FileStat]]:
    """Return, for retired entries without a handoff, the stat of the folder in which one would have to appear."""
    found: dict[str, Sequence[FileStat]] = {}
    for name in run.retired:
        path = run.work.config.entries[name].handoff
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        now = identity_of(folder)
        if ticked(folder, now) and not may_be_there(path):
            found[name] = [(folder, *now)]
    return found


def _seen(run: Run, record: EntryRun) -> list[FileStat] | None:
    """Return how an entry's files look; None where a change of one of them could go unseen."""
    work, entry = run.work, record.entry
    files = resolve(work, record)
    seen: list[FileStat] = []
    signature = () if entry.signature is None else entry.signature.files
    for path in (*(member.path for member in files.members), *signature):
        known = work.memo.known(path)
        if known is None or known.how != "stat":  # where its times can't be believed, every run compares its bytes
            return None
        seen.append((path, *known.identity))
    artifacts = (entry.handoff, work.sha256_target(entry))
    for path in (*files.folders, *artifacts):
        now = identity_of(path)
        if not ticked(path, now):
            return None
        if path in artifacts and path not in record.artifacts and now.ctime_ns > run.began:
            return None  # another program wrote it after we examined it
        if record.artifacts.get(path, now) != now:
            return None
        seen.append((path, *now))
    # The file holds 64 bits of a time: until the year 2262.
    return None if any(abs(time) >> 63 for _, *_, mtime, ctime in seen for time in (mtime, ctime)) else seen
