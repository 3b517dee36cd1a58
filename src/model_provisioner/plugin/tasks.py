"""The tasks of a project's models, as dictionaries for doit, and the actions behind them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskError, TaskFailed
from doit.globals import Globals

from model_provisioner.cli.output import relative as shown
from model_provisioner.engine.withdrawal.orphans import has_orphans
from model_provisioner.engine.withdrawal.withdraw import check_place, retired_error, withdraw
from model_provisioner.errors import ExecutorError, ProvisionError, SettingError, StorageError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.plugin.checker import watch
from model_provisioner.plugin.done import files_of, is_forgotten, keep, remember_again, values_of
from model_provisioner.plugin.names import BASENAME, WITHDRAW, BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun, Step
    from model_provisioner.engine.run import Run


def _or_false(question: Callable[..., bool]) -> Callable[..., bool]:
    """Let what can't be told count as not up to date: doit takes an error of a question for its own. The step says why."""

    def asked(*values: Any) -> bool:
        try:
            return question(*values)
        except ProvisionError:
            return False

    return asked


class ModelTasks:
    """The tasks of a project's entries, in the group `models`. Each asks the run to advance one entry to one step."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.omitted: set[str] = set()
        """The entries for which nothing is left to do: they have no tasks."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        run = self.run
        yield {
            "basename": BASENAME,
            "name": None,
            "doc": "make every model of models.yaml present, verified and handed off",
        }
        failed = [name for name, record in run.records.items() if record.error is not None]
        for name in dict.fromkeys([*failed, *run.work.config.entries]):  # who ends at the first failure, ends there
            if name not in self.omitted:
                yield from self._of_retired(name) if name in run.retired else self._of_entry(run.record(name))
        # Last in the group: doit comes to it when it has asked every verify task whether it has work to do. It is also set
        # up for each of them that has, so that all handoffs that can't be confirmed go before the first byte is read.
        yield _task(
            "withdraw",
            "remove the handoffs that can't be confirmed",
            self._withdraw,
            uptodate=[self._nothing_to_withdraw],
        )

    def _of_entry(self, record: EntryRun) -> Iterator[dict[str, Any]]:
        entry, name = record.entry, record.name
        files = files_of(entry)
        watch(files)
        remote = [part.ref.id for part in entry.parts if not part.ref.is_local]
        if remote:
            yield _task(
                f"fetch:{name}",
                f"fetch {', '.join(remote)}",
                (self._advance, (record, "fetch")),
                uptodate=[(self._is_fetched, (record,))],
            )
        target = self.run.work.sha256_target(entry)
        yield _task(
            f"verify:{name}",
            f"verify {name} and read its header",
            (self._advance, (record, "verify")),
            file_dep=list(files),
            targets=[shown(target)],
            task_dep=[f"{BASENAME}:fetch:{name}"] if remote else [],
            setup=[] if self.run.swept else [WITHDRAW],  # doit comes to what has a `setup` in no order
            uptodate=[(self._is_verified, (record,))],
            clean=[(self._clean, ("verify", entry, target))],
        )
        yield _task(
            f"register:{name}",
            f"write {name} into the catalog",
            (self._advance, (record, "register")),
            task_dep=[f"{BASENAME}:verify:{name}"],
            uptodate=[(self._is_done, (record, "register"))],
        )
        yield _task(
            f"handoff:{name}",
            f"write the handoff of {name} for {entry.engine}",
            (self._advance, (record, "handoff")),
            targets=[shown(entry.handoff)],
            task_dep=[f"{BASENAME}:register:{name}"],
            uptodate=[(self._is_done, (record, "handoff"))],
            clean=[(self._clean, ("handoff", entry, entry.handoff))],
        )

    def _of_retired(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a retired model: there is nothing to do, but what needs its handoff has to hear of it."""
        entry = self.run.work.config.entries[name]
        watch(files_of(entry))
        before: list[str] = []
        for step in ("verify", "register", "handoff"):
            yield _task(
                f"{step}:{name}",
                f"nothing: {name} is retired",
                (self.meet_retired, (entry, step)),
                targets=[shown(entry.handoff)] if step == "handoff" else [],
                task_dep=before,
            )
            before = [f"{BASENAME}:{step}:{name}"]

    # ---- what doit calls

    def _advance(self, record: EntryRun, step: Step) -> dict[str, object] | TaskFailed | TaskError:
        """Take one step of an entry; answer in doit's terms, never with a traceback for a model's fault."""
        try:
            self.run.advance(record, step)
        except (StorageError, ExecutorError) as error:
            return TaskError(str(error))
        except ProvisionError as error:
            return (BadInput if isinstance(error, SettingError) else TaskFailed)(str(error))
        if step != "verify":
            return {}
        self.show_verified(record)
        if Globals.dep_manager is not None:
            remember_again(Globals.dep_manager, record.name)
        return values_of(self.run, record)

    def show_verified(self, record: EntryRun) -> None:
        """Warn of bytes that are not as expected, or that nothing is expected of: doit's reporter does not."""
        found = record.verification
        if found is not None and found.outcome == "fail":
            sys.stderr.write(f"WARNING: {found.fault}\n  note      strict_verification is false: it is handed off\n")
        elif found is not None and found.outcome == "warn":
            for part in found.parts:
                if part.outcome == "warn":
                    what = f"{record.name}: {part.label}" if part.label else record.name
                    sys.stderr.write(
                        f'warning: {what}: no digest is expected; to pin it: expected_digest: "{part.digest}"\n'
                    )

    def meet_retired(self, entry: Entry, step: Step) -> TaskError | TaskFailed | None:
        """Say that a model is retired, and see to it that it has no handoff."""
        if step == "handoff":
            sys.stderr.write(f"{retired_error(self.run.work, entry)}\n")
            self.run.sweep([entry.name], orphans=False)
            if (stands := self.run.record(entry.name).stands) is not None:
                return TaskError(str(stands))
        return None

    @_or_false
    def _is_fetched(self, record: EntryRun) -> bool:
        from model_provisioner.engine.fetching.fetch import is_present

        return record.error is None and is_present(self.run.work, record)

    @_or_false
    def _is_verified(self, record: EntryRun) -> bool:
        record.asked = True
        doit = Globals.dep_manager
        if not self.run.is_done(record, "verify") or (doit is not None and is_forgotten(doit, record.name)):
            return False
        if doit is not None:
            keep(self.run, record, doit)
        return True

    @_or_false
    def _is_done(self, record: EntryRun, step: Step) -> bool:
        return self.run.is_done(record, step)

    @_or_false
    def _nothing_to_withdraw(self) -> bool:
        waiting = any(record.asked and not self.run.is_done(record, "verify") for record in self.run.records.values())
        return self.run.swept or not (waiting or has_orphans(self.run.work))

    def _withdraw(self) -> dict[str, object] | TaskError:
        if not self.run.swept:  # doit does not ask under --always-execute: a second sweep would undo what failed since
            try:
                self.run.sweep([record.name for record in self.run.records.values() if record.asked], orphans=True)
            except StorageError as error:
                return TaskError(str(error))
            if self.run.trouble:
                return TaskError("\n".join(map(str, self.run.trouble)))
        return {"withdrawn": [record.name for record in self.run.lost]}

    def _clean(self, step: Step, entry: Entry, path: str, dryrun: bool) -> None:
        work = self.run.work
        if not may_be_there(path):
            return
        try:
            if step == "handoff":
                check_place(work, entry)
            print(f"{BASENAME}:{step}:{entry.name} - removing file '{shown(path)}'")
            if not dryrun:
                withdraw(work, path)
                work.build_record.forget([path])
        except ProvisionError as error:
            sys.stderr.write(f"ERROR: {BASENAME}:{step}:{entry.name} - {error}\n")
            if isinstance(error, StorageError):
                raise SystemExit(error.exit_code) from None  # doit goes on after any other, and ends with 0


class ProvisionTasks(ModelTasks):
    """The tasks as `doit provision` runs them: a retired model is met only by what needs its handoff, and fails that."""

    def meet_retired(self, entry: Entry, step: Step) -> TaskError | TaskFailed | None:
        """Fail."""
        return TaskFailed(str(retired_error(self.run.work, entry)))


class ReportedTasks(ProvisionTasks):
    """The tasks as `doit provision` runs them under its own reporter, which shows what was verified."""

    def show_verified(self, record: EntryRun) -> None:
        """Leave it to the reporter."""


def _task(name: str, doc: str, action: Any, **fields: Any) -> dict[str, Any]:
    # doit swaps sys.stdout while it captures, which is wrong as soon as there are two threads: we print nothing anyway.
    return {"basename": BASENAME, "name": name, "doc": doc, "actions": [action], "io": {"capture": False}, **fields}


def handoff_tasks(names: Iterable[str]) -> list[str]:
    """Return the names of the tasks that finish these entries."""
    return [f"{BASENAME}:handoff:{name}" for name in names]
