"""Write the snapshot after a run: of what was found current, and of what was just done."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.fs.atomic import read_if_there, write_atomically
from model_provisioner.fs.clock import TICK_NS, ticked
from model_provisioner.fs.identity import identity
from model_provisioner.fs.state_folder import project_folder
from model_provisioner.plugin.shortcut import NAME, doit_state, key_of
from model_provisioner.records.snapshot import Snapshot, parse, render

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.plugin.session import Session
    from model_provisioner.records.snapshot import Seen


def remember(session: Session, dep_file: str | None) -> None:
    """Write the snapshot. It only saves time: where it can't be written, the next run takes the long way."""
    work = session.work
    path = os.path.join(project_folder(work.state, work.config.root), NAME)
    files = _omitted(path, session.omitted.difference(session.current, session.handed_off))
    fresh = _fresh(session)
    _wait(session)
    work.memo.load(member.path for found in fresh.values() for member in found.members)
    for name, found in fresh.items():
        with contextlib.suppress(OSError):
            if (seen := _seen(session, work.config.entries[name], found)) is not None:
                files[name] = seen
    retired = _retired(session)
    files.update(retired)
    work.close()  # what SQLite still has to move into its files changes how they look
    key = key_of(work.config.path, work.state)
    if key is None:
        return
    doit = doit_state(work.config.path, dep_file)
    left = len(work.config.entries) - len(files)
    snapshot = Snapshot(
        key=key,
        links=work.config.links,
        names=list(files),
        files=list(files.values()),
        doit=doit,
        retired=list(retired),
        left=left,
    )
    with contextlib.suppress(StorageError):
        write_atomically(path, render(snapshot))


def _wait(session: Session) -> None:
    """Let the tick end in which the last artifact was written: in it, it could be written once more without a trace."""
    last = max((each.ctime_ns for each in session.work.written.values()), default=0)
    left = min(last + TICK_NS - time.time_ns(), TICK_NS)
    if left >= 0:
        time.sleep((left + 1) / 1e9)


def _omitted(path: str, names: Collection[str]) -> dict[str, Sequence[Seen]]:
    """Return what the last snapshot has of entries that this run did not look at."""
    last = parse(read_if_there(path, limit=1 << 30) or b"") if names else None
    if last is None:
        return {}
    return {name: files for name, files in zip(last.names, last.files, strict=True) if name in names}


def _fresh(session: Session) -> dict[str, FileSet]:
    """Return the files of the entries that this run found current, or handed off."""
    fresh = {name: found.files for name, found in session.handed_off.items() if found.outcome != "fail"}
    for name in session.current:
        if name not in session.handed_off:
            with contextlib.suppress(ProvisionError):
                fresh[name] = resolve_entry(session.entry(name), session.work.store)
    return fresh


def _retired(session: Session) -> dict[str, Sequence[Seen]]:
    """Return, for retired entries, how the folder looks in which somebody would have to put a handoff; none has one."""
    found: dict[str, Sequence[Seen]] = {}
    for name in session.retired:
        path = session.entry(name).handoff
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        now = identity(os.stat(folder))
        if ticked(folder, now) and not os.path.lexists(path):
            found[name] = [(folder, *now)]
    return found


def _seen(session: Session, entry: Entry, files: FileSet) -> list[Seen] | None:
    """Return how an entry's files look; None where a change of one of them could go unseen."""
    work = session.work
    seen: list[Seen] = []
    signature = () if entry.signature is None else entry.signature.files
    for path in (*(member.path for member in files.members), *signature):
        if (known := work.memo.known(path)) is None:
            return None
        seen.append((path, *known.identity))
    artifacts = (entry.handoff, work.sha256_target(entry))
    for path in (*files.folders, *artifacts):
        now = identity(os.stat(path))
        if not ticked(path, now):
            return None
        if path in artifacts and path not in work.written and now.ctime_ns > session.began:
            return None  # somebody wrote it after we looked at it
        if work.written.get(path, now) != now:
            return None
        seen.append((path, *now))
    # The file holds 64 bits of a time: until the year 2262.
    return None if any(abs(time) >> 63 for _, *_, mtime, ctime in seen for time in (mtime, ctime)) else seen
