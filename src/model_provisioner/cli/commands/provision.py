"""`provision`: make the models of a project present, verified and handed off."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.ci.report import CiReport
from model_provisioner.cli.exit_codes import Patient
from model_provisioner.cli.output import note_read_here, removed, warn_of_withdrawn, withdrawn
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import enter_project, entries_named
from model_provisioner.cli.reply.run import tell_run
from model_provisioner.cli.run_line import done_line, failed_line
from model_provisioner.cli.summary import summary
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.run import Run
from model_provisioner.engine.snapshot.begin import sweep_what_moved
from model_provisioner.engine.snapshot.compare import look
from model_provisioner.engine.snapshot.remember import remember
from model_provisioner.errors import ModelNotFoundError, SettingError, StorageError
from model_provisioner.hashing.executors import window_for
from model_provisioner.hashing.threads import core_count
from model_provisioner.records.makers import made_by_tasks
from model_provisioner.settings import is_on

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from model_provisioner.cli.progress.lines import Lines
    from model_provisioner.cli.progress.screen import Screen
    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.errors import ProvisionError


def run(
    reply: Reply,
    names: Sequence[str],
    *,
    full: bool,
    require_digest: bool,
    offline: bool,
    locked: bool,
    scheduler: str | None,
    junit: str | None,
    force: bool,
    quiet: bool,
) -> int:
    """Take every step for each model, and print a line for each that something was done for."""
    ci = CiReport("provision", junit, force=force)
    ci.config = path = enter_project()
    locked = locked or is_on("MODEL_PROVISIONER_LOCKED")
    rules = Rules(full=full, require_digest=require_digest, offline=offline, locked=locked)
    window = window_for(scheduler)
    # The snapshot is of plain runs; where it says that nothing is to be done, nothing is fetched either.
    plain = rules in (Rules(), Rules(offline=True)) and not names
    found = look(path) if plain else None
    with (
        ci.written(),
        closing(progress_for_stderr()) as progress,
        Run.begin(path, rules=rules, progress=progress, window=window) as whole,
    ):
        named = [entry.name for entry in entries_named(whole.work, names)]
        asked = named or list(whole.work.config.entries)
        report = _Report(whole, progress, reply, quiet=quiet)
        try:
            found = sweep_what_moved(whole, found, asked, orphans=not names)
            report.withdrawn_before()
            with closing(whole.provision_left(asked, core_count())) as batches:
                for batch in batches:
                    report.done(batch)
            whole.finish()
            code = report.finish(asked)
        except BaseException:
            progress.close()
            warn_of_withdrawn(whole, report.told)
            raise
        finally:
            note_read_here(window)
            if reply.is_json:
                tell_run(reply, whole, asked)
            if ci.is_wanted:
                from model_provisioner.cli.ci.cases import of_run

                ci.cases += of_run(whole, asked, {})
        if code in (0, 1) and plain:
            remember(whole, None, found)
    ci.annotate()
    return code


class _Report:
    """Says what becomes of the models of a run, as it does."""

    def __init__(self, whole: Run, progress: Screen | Lines, reply: Reply, *, quiet: bool) -> None:
        self.told: set[str] = set()
        """The models of which it was said that they failed or lost their handoff, and the paths that are said to be gone."""
        self._run, self._progress = whole, progress
        self._quiet, self._silent = quiet, reply.is_json
        self._out, self._began = Patient(sys.stdout), time.monotonic()
        self._errors: list[ProvisionError] = []
        self._done = self._failed = 0
        self._made = made_by_tasks(whole.work.state, whole.work.config.root)

    def withdrawn_before(self) -> None:
        """Say which artifacts are gone that no entry claims."""
        self.told.update(self._run.orphans)
        self._print(f"gone  {removed(path)}\n" for path in self._run.orphans)

    def done(self, batch: Iterable[EntryRun]) -> None:
        """Say of each of these models that it was done or failed, if it was."""
        for record in batch:
            if record.error is not None:
                self._failed_with(record, record.error)
            elif record.published:
                self._done += 1
                verified = record.why is None or any(reason.step == "verify" for reason in record.why)
                loud = record.verification is not None and record.verification.outcome != "pass"
                self._print([done_line(record, verified=verified)], aloud=loud)

    def _failed_with(self, record: EntryRun, error: ProvisionError) -> None:
        self._failed += 1
        self.told.add(record.name)
        self._errors.append(error)
        if isinstance(error, ModelNotFoundError) and self._is_made(record):
            error.fix = "a task of dodo.py makes it: run `doit provision`" + (
                f"; else {error.fix}" if error.fix else ""
            )
        self._print([failed_line(record.name, error, withdrawn=record.withdrawn)], aloud=True)

    def finish(self, asked: Collection[str]) -> int:
        """Say what else was lost, and what became of all; return the exit code."""
        self._progress.close()
        whole = self._run
        lost = [record for record in whole.lost if record.name not in self.told]
        self.told.update(record.name for record in lost)
        self._print((f"gone  {withdrawn(record)}\n" for record in lost), aloud=True)
        retired = whole.retired & set(asked)
        current = len(asked) - len(retired) - self._done - self._failed - len(lost)
        seconds = time.monotonic() - self._began
        text = summary(
            done=self._done, current=current, failed=self._failed, withdrawn=len(lost), retired=retired, seconds=seconds
        )
        self._print([text], aloud=bool(self._failed or lost))
        trouble = [*whole.trouble, *(each.stands for each in whole.stuck if each.stands and each.name not in self.told)]
        for error in trouble:
            sys.stderr.write(f"ERROR: {error}\n")
        self._errors += trouble
        return self._exit_code()

    def _exit_code(self) -> int:
        """2 if something broke, else 3 if a model failed for bad input, else 1 if one failed or was withdrawn, else 0."""
        for kind in (StorageError, SettingError):
            if any(isinstance(error, kind) for error in self._errors):
                return kind.exit_code
        return int(bool(self._errors or self._run.lost))

    def _is_made(self, record: EntryRun) -> bool:
        """Tell whether a task of the project may make the files of an entry."""
        if self._made is not None:
            return record.name in self._made
        return os.path.exists(os.path.join(self._run.work.config.root, "dodo.py"))

    def _print(self, texts: Iterable[str], *, aloud: bool = False) -> None:
        if not self._silent and (aloud or not self._quiet):
            with self._progress.aside():
                self._out.write("".join(texts))
