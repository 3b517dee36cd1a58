"""One entry on its way through a run: what was asked of it, what was found, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from model_provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.errors import StorageError
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.fs.identity import Identity

Step = Literal["fetch", "verify", "register", "handoff"]


@dataclass(frozen=True)
class Reason:
    """Why a step has to be done, in words."""

    step: Step
    text: str
    touched: str = ""
    """A file whose times changed while its size did not: its content may be the same."""
    doubted: bool = False
    """Whether only its file system keeps `touched` from being known: it counts as current if its bytes are the same."""
    holds: bool = False
    """Whether those bytes were compared and are the same: nothing is to be done for this reason."""
    missing: bool = False
    """Whether it is that the model was not there."""
    follows: bool = False
    """Whether the step has to be done only because an earlier one has."""
    confirmed: bool = False
    """Whether the handoff on the disk is what this run would write all the same, as far as is known without reading."""


@dataclass(eq=False, slots=True)
class EntryRun:
    """The record of one entry in one run. The steps fill it in; threads work on different records."""

    entry: Entry
    files: FileSet | None = None
    """What the reference resolved to; None until it is asked for, and again after a step that may have changed it."""
    verification: Verification | None = None
    """What this run found the bytes to be; None where it did not look, or failed."""
    why: list[Reason] | None = None
    """Why the entry was not up to date when the run came to it; None until then."""
    reasons: list[Reason] | None = None
    """Why it is not up to date now, as far as known; None where a step was done since."""
    error: ProvisionError | None = None
    """What the last step failed with. It is reported once, and no step is tried again."""
    origin: str = ""
    """Where its files were fetched from by this run, in words."""
    evicted: list[str] = field(default_factory=list)
    """What was evicted from the store to make room for it, in words."""
    artifacts: dict[str, Identity] = field(default_factory=dict)
    """How its handoff and checksum file looked when this run wrote them or found them as they must be, by path."""
    awaited: bool = False
    """Whether another doit task may make or change its files: it is examined after that task."""
    asked: bool = False
    """Whether doit asked if it is verified."""
    advanced: bool = False
    """Whether this run took a step of it."""
    withdrawn: bool = False
    """Whether this run removed its handoff."""
    stands: StorageError | None = None
    """What kept this run from removing its handoff, or from seeing whether there is one; None where it did not try."""
    published: bool = False
    """Whether this run handed it off after the last withdrawal."""
    changed: bool = False
    """Whether the bytes of the handoff changed by that."""

    @property
    def name(self) -> str:
        """The name of the entry."""
        return self.entry.name

    @property
    def is_current(self) -> bool:
        """Whether the last look found nothing to do, and nothing was done since."""
        return self.reasons is not None and not self.reasons

    def changed_outside(self) -> None:
        """Forget its files and reasons: another program or step may have changed them."""
        self.files = self.reasons = None


class failing:  # noqa: N801  used as a statement, and some ten times a model: a generator takes three times as long
    """Let an error of the block be what these entries fail with; it stops no other entry."""

    __slots__ = ("_records",)

    def __init__(self, *records: EntryRun) -> None:
        self._records = records

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ProvisionError):
            return False
        for record in self._records:
            record.error, record.verification = error, None
        return True
