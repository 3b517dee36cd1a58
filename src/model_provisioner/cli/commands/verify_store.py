"""`verify --store`: audit the store, and print a line for each blob that is not whole."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.output import note_read_here, print_lines
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import enter_project, find_config, state_folder_here
from model_provisioner.cli.reply.fields import model_fields
from model_provisioner.config.paths import DEFAULT_CACHE_DIR, asked_cache_dir
from model_provisioner.engine.workspace import look_at_workspace, without_project
from model_provisioner.errors import printable
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.hashing.executors.choose import chosen
from model_provisioner.hashing.executors.uncached import UncachedThreads, hash_files_uncached
from model_provisioner.hashing.executors.window import Window
from model_provisioner.operations.store_audit.audit import StoreAudit
from model_provisioner.operations.store_audit.found import Damaged, Gone, Unread, Whole
from model_provisioner.operations.store_audit.plan import plan
from model_provisioner.provenance.record import iso
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.records.store_audits import StoreAudits
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.engine.verification.damage import Dependent
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import ProvisionError
    from model_provisioner.operations.store_audit.found import Audited
    from model_provisioner.operations.store_audit.plan import Plan
    from model_provisioner.records.store_audits import Total

SHOWN = 5
"""How many of the files that are no blobs are named."""
TOLD = 1000
"""How many blobs that are not whole the document tells of, each; all are counted. A disk may lose a million at once."""


def audit_store(
    reply: Reply, *, older_than: int | None, max_bytes: int | None, scheduler: str | None, quiet: bool
) -> int:
    """Audit the blobs of the project's store, or outside of a project of the user's, that are due; return the exit code.

    Those are due that were last audited `older_than` seconds ago, or more, and no more than `max_bytes` of them. They are
    hashed by the executor that `scheduler` or the environment names, or else by threads of this process.
    """
    wanted = chosen(scheduler)
    window = None if wanted is None else Window(wanted, hash_files_uncached)
    with (
        closing(_workspace()) as work,
        closing(StoreAudits(work.state, work.store.root)) as audits,
        nullcontext() if window is None else closing(window),
    ):
        ensure_state_folder(work.state)
        began = time.monotonic()
        planned = plan(work.store, audits, older_than)
        print_lines(_notes(planned), sys.stderr)
        tally = _Tally(planned)
        try:
            with closing(progress_for_stderr()) as progress:
                audit = StoreAudit(work.store, work.state, audits, window or UncachedThreads(), progress)
                told: Damaged | None = None

                def tell(each: Audited) -> None:
                    if isinstance(each, Damaged | Unread):
                        with progress.aside():
                            reply.say(*_lines(each))
                    tally.add(each)

                try:
                    with closing(audit.run(planned, max_bytes)) as found:
                        for each in found:
                            tell(each)
                            told = each if isinstance(each, Damaged) else told
                except BaseException:
                    if audit.damaged is not None and audit.damaged is not told:
                        tell(audit.damaged)
                    raise
        finally:
            note_read_here(window)
            now = audits.total(time.time_ns())
            tally.tell(reply, work.store.root, now)
        if not quiet or tally.exit_code:
            reply.say(tally.summary(work.store.root, now, time.monotonic() - began))
        return tally.exit_code


def _workspace() -> Workspace:
    """Return the workspace of the project here; outside of one, what has the store that programs of this user have."""
    if find_config(os.getcwd()) is not None:
        return look_at_workspace(enter_project())
    cache_dir = os.path.abspath(os.path.expanduser(asked_cache_dir(None) or DEFAULT_CACHE_DIR))
    return without_project(Catalog.reader(state_folder_here()), cache_dir)


class _Tally:
    """What came of the blobs of an audit, counted."""

    def __init__(self, planned: Plan) -> None:
        self._planned = planned
        self._counts: dict[type[Audited], int] = dict.fromkeys((Whole, Damaged, Unread, Gone), 0)
        self._sizes = dict(self._counts)
        """In bytes."""
        self._damaged: list[Damaged] = []
        self._trouble: list[ProvisionError] = list(planned.trouble)
        self.exit_code = 2 if planned.trouble else 0
        """2 where something broke, else 1 where a blob is damaged, else 0."""

    def add(self, each: Audited) -> None:
        """Count a blob."""
        self._counts[type(each)] += 1
        self._sizes[type(each)] += each.blob.size
        trouble: tuple[ProvisionError, ...] = ()
        if isinstance(each, Damaged):
            trouble = each.trouble
            self.exit_code = max(self.exit_code, 1)
            if self._counts[Damaged] <= TOLD:
                self._damaged.append(each)
        elif isinstance(each, Unread):
            trouble = (each.error,)
        if trouble:
            self.exit_code = 2
            self._trouble += trouble[: max(0, TOLD - len(self._trouble))]

    @property
    def _read(self) -> int:
        return self._sizes[Whole] + self._sizes[Damaged]

    @property
    def _left(self) -> tuple[int, int]:
        """How many blobs are left for the next audit, and their bytes."""
        due = self._planned.due
        return due.blobs - sum(self._counts.values()), due.size - sum(self._sizes.values())

    def summary(self, root: str, now: Total, seconds: float) -> str:
        """Return the last line; `now` are the blobs that the store has when all is done."""
        total = self._planned.due.blobs + self._planned.recent
        if not total:
            return f"there is no blob in the store at {printable(root)}: nothing to audit"
        left, left_size = self._left
        counts = (
            (self._counts[Whole], "whole"),
            (self._counts[Damaged], "damaged"),
            (self._counts[Unread], "unreadable"),
            (self._counts[Gone], "gone meanwhile"),
            (left, f"left for the next audit ({human(left_size)})"),
            (self._planned.recent, "audited before"),
        )
        parts = ", ".join(f"{count} {word}" for count, word in counts if count)
        oldest = "" if now.oldest is None else f"; {_oldest(now.oldest)}"
        return f"{total} {_blobs(total)}: {parts}; {human(self._read)} read ({seconds:.2f} s){oldest}"

    def tell(self, reply: Reply, root: str, now: Total) -> None:
        """Put into the document what was audited until now."""
        for each in self._damaged:
            reply.add_error(each.error)
            reply.models += [model_fields(one.row.name, one.row.id, one.row) for one in each.dependents]
        for error in self._trouble:
            reply.add_error(error)
        left, left_size = self._left
        reply.result = {
            "store": root,
            "blobs": now.blobs,
            "size_bytes": now.size,
            "whole": self._counts[Whole],
            "damaged_blobs": self._counts[Damaged],
            "unreadable": self._counts[Unread],
            "gone": self._counts[Gone],
            "read_bytes": self._read,
            "left": left,
            "left_bytes": left_size,
            "recent": self._planned.recent,
            "oldest_audit": iso(now.oldest // 10**9) if now.oldest else None,
            "clock_went_back": self._planned.ahead,
            "not_blobs": list(self._planned.others),
            "damaged": [_fields(each) for each in self._damaged],
        }


def _fields(each: Damaged) -> dict[str, Any]:
    entries = [
        {"name": one.row.name, "project": one.row.project or None, "config": one.row.config, "withdrawn": one.withdrawn}
        for one in each.dependents
    ]
    return {
        "sha256": each.blob.sha256,
        "size_bytes": each.blob.size,
        "found": each.error.actual.removeprefix("sha256:"),
        "entries": entries,
        "elsewhere": list(each.elsewhere),
    }


def _notes(planned: Plan) -> Iterator[str]:
    if planned.ahead:
        yield (
            f"note: the last audit of {planned.ahead} {_blobs(planned.ahead)} lies ahead of the clock: a clock went back, and "
            "they count as never audited"
        )
    if planned.others:
        left = len(planned.others[SHOWN:]) + planned.more
        more = f" and {left} more" if left else ""
        named = ", ".join(map(printable, planned.others[:SHOWN]))
        yield f"note: no blob, and left as it is: {named}{more}"
    yield from (f"ERROR: {error}" for error in planned.trouble)


def _lines(each: Damaged | Unread) -> Iterator[str]:
    """Yield what is said of a blob that is not whole."""
    first, *rest = str(each.error).splitlines()
    yield f"FAIL  blob {each.blob.sha256[:12]}  {first}"
    yield from (f"      {line}" for line in rest)
    if isinstance(each, Damaged):
        yield from (f"      failed: {_told(one)}" for one in each.dependents)
        yield from (f"      also of {printable(name)}: the next run there fetches it again" for name in each.elsewhere)
        for error in each.trouble:
            yield from (f"      {line}" for line in str(error).splitlines())


def _told(one: Dependent) -> str:
    """Say which entry failed, and what became of its handoff."""
    whose = f" of {one.row.config}" if one.row.config else ""
    if one.row.lifecycle == "Retired":
        return printable(f"{one.row.name}{whose} (it is retired, and stays so)")
    return printable(f"{one.row.name}{whose}{' (its handoff was withdrawn)' if one.withdrawn else ''}")


def _oldest(time: int) -> str:
    return f"the oldest audit is of {iso(time // 10**9)}" if time else "some were never audited"


def _blobs(count: int) -> str:
    return "blob" if count == 1 else "blobs"
