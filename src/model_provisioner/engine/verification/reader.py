"""The reader: gets the digests of a batch, withdraws before bytes are read, and lets no worker's word fail a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.engine.events import ReadingBegins, counting
from model_provisioner.engine.verification.corruption import corruption
from model_provisioner.engine.withdrawal.withdraw import READ, pend
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.identity import size_or_zero
from model_provisioner.fs.paths import may_be_there

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.hashing.executors.window import Window
    from model_provisioner.hashing.memo import Answer
    from model_provisioner.hashing.memo_rows import Row


class Reader:
    """Gets the digests of entries as this run may: from the memo as far as that may be asked, else from who reads the files.

    Before a file is read, at first or again because it moved, the handoffs of its entries are withdrawn.
    """

    def __init__(self, work: Workspace, records: Sequence[EntryRun]) -> None:
        self._work, self.records = work, records
        self._pending: set[EntryRun] = set()
        self.before: dict[str, Row | None] = {}
        """What the memo knew of files, by path, before they were read."""
        self._said: dict[str, str] = {}
        """SHA-256 of files, by path, of which only workers said what they hold, in this run or an earlier one."""

    def digests(self, paths: Sequence[str]) -> list[Answer]:
        """Return the digests of files, in their order; an error takes the place of one that can't be had.

        Raises `ExecutorError` where workers read, and that can't go on.
        """
        answers = self._digests(paths, self._work.window)
        self._said.update(_said_of(dict(zip(paths, answers, strict=True))))
        return answers

    def _digests(self, paths: Sequence[str], window: Window | None) -> list[Answer]:
        work = self._work
        work.memo.load(paths)
        if not work.rules.full:  # what is only doubted is compared, while its handoff stands
            doubted = [path for path in paths if work.memo.doubted(path) is not None]
            work.memo.compare(doubted, counting(work.progress))
        unknown = {path for path in paths if work.rules.full or work.memo.known(path) is None}
        for path in unknown:
            self.before.setdefault(path, work.memo.last(path))
        if unknown and window is not None:
            window.connect()  # before anything is withdrawn
        refused = self._pend(unknown)
        if not refused:
            return self._read(paths, window)
        answers = iter(self._read([path for path in paths if path not in refused], window))
        return [refused[path] if path in refused else next(answers) for path in paths]

    def is_unsure(self, record: EntryRun) -> bool:
        """Tell whether an entry would fail by bytes of which only a worker said what they are."""
        found = record.verification
        if found is None or not any(each.path in self._said for each in found.digests):
            return False
        row = self._work.catalog.get(self._work.config.root, record.name)
        return (
            found.outcome == "fail"
            or corruption(row, found, self.before) is not None
            or any(self._work.store.blob_behind(each.path) not in {None, each.sha256} for each in found.digests)
            or any(part.files.fetched not in (None, part.by_name) for part in found.parts)
        )

    def confirmed(self, paths: Sequence[str]) -> list[Answer]:
        """Return the digests of files as `digests` does, but read here what only workers read until now.

        Where a worker was wrong, the window has that to tell.
        """
        answers = dict(zip(paths, self._digests(paths, None), strict=True))
        if said := _said_of(answers):
            refused = self._pend(said)
            left = [path for path in said if path not in refused]
            progress = counting(self._work.progress, self._named)
            answers.update(refused)
            answers.update(zip(left, self._work.memo.digests_in_full(left, progress), strict=True))
        for path, answer in answers.items():
            was = self._said.get(path)
            if (
                self._work.window is not None
                and not isinstance(answer, ProvisionError)
                and was not in {None, answer.sha256}
            ):
                self._work.window.note_read_here(path, f"a worker said sha256:{was}, which it is not")
        return [answers[path] for path in paths]

    def _pend(self, unknown: Collection[str]) -> dict[str, ProvisionError]:
        """Withdraw the handoffs of entries whose files are about to be read; return, by path, what keeps one from that."""
        owners: dict[str, list[EntryRun]] = {}
        sizes: dict[EntryRun, int] = {}
        for record in self.records:
            if record.files is None or record.error is not None or record.verification is not None:
                continue
            if mine := [member.path for member in record.files.members if member.path in unknown]:
                for path in mine:
                    owners.setdefault(path, []).append(record)
                if record not in self._pending or may_be_there(record.entry.handoff):
                    sizes[record] = sum(map(size_or_zero, mine))
        if sizes:
            pend(self._work, list(sizes), READ)
        for record in sizes.keys() - self._pending:
            if record.error is None:
                self._work.progress(ReadingBegins(record.name, sizes[record]))
        self._pending.update(sizes)
        return {path: each.error for path, some in owners.items() for each in some if each.error is not None}

    def _read(self, paths: Sequence[str], window: Window | None) -> list[Answer]:
        memo, progress = self._work.memo, counting(self._work.progress, self._named)
        if self._work.rules.full:
            return memo.digests_in_full(paths, progress, window)
        answers = memo.digests(paths, progress, window)
        return [self._as_received(answer) for answer in answers]

    @property
    def _named(self) -> str:
        """The model, where it is one."""
        return self.records[0].name if len(self.records) == 1 else ""

    def _as_received(self, answer: Answer) -> Answer:
        """Say of a file that was hashed while it came that it was: the memo knows it from there."""
        if isinstance(answer, ProvisionError) or answer.identity not in self._work.received:
            return answer
        return replace(answer, how="hashed")


def _said_of(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Return the SHA-256 of files, by path, of which only a worker said what they hold."""
    return {
        path: each.sha256
        for path, each in answers.items()
        if not isinstance(each, ProvisionError) and not each.read_here
    }
