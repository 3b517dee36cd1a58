"""How one model of a project stands, as values: what is asked for, what the records say of it, and what is there now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.config.entries import Claim, Entry
    from model_provisioner.engine.entry_run import Reason
    from model_provisioner.headers.metadata import SignatureResult
    from model_provisioner.records.catalog.catalog import Model, Transition

Stands = Literal["failed", "tolerated", "stale", "pending", "new", "retired", "current"]
"""How a model stands, the worst first. `tolerated` is a mismatch that was handed off; `stale`: the next run has work to do."""

STANDS: tuple[Stands, ...] = ("failed", "tolerated", "stale", "pending", "new", "retired", "current")

HandoffState = Literal["confirmed", "unconfirmed", "none"]
_PLAIN = ("engine", "error", "expected", "handoff", "handoff_state", "name", "path", "reference", "size", "stands")
"""The fields of a `ModelReport` that JSON has as they are."""


@dataclass(frozen=True)
class LastReading:
    """A verification that read bytes: its time (ISO 8601, UTC), and whether it `hashed` them or compared their `xxh3`."""

    time: str
    how: str


@dataclass(frozen=True, kw_only=True)
class CompanionReport:
    """A companion of an entry: what is asked for, and what the last verification found, as far as there was one."""

    role: str
    reference: str
    """Without credentials."""
    expected: str | None
    path: str | None
    digest: str | None
    outcome: str | None


@dataclass(frozen=True)
class SignatureReport:
    """Who is to have signed a model, and the check that is on record; None where none is of these bytes, bundle and key."""

    claim: Claim
    result: SignatureResult | None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        claim, result = self.claim, self.result
        return {
            "bundle_sha256": None if result is None else result.bundle,
            "identity": claim.identity,
            "issuer": claim.issuer,
            "outcome": None if result is None else result.outcome,
            "public_key": claim.public_key,
            "public_key_sha256": None if result is None else result.public_key,
        }


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """One entry of the configuration: what is asked for, what the records say of it, and what is there now."""

    entry: Entry
    name: str
    reference: str
    """Without credentials."""
    path: str | None
    """What an engine opens, where the model is here or was."""
    engine: str
    handoff: str
    handoff_state: HandoffState
    """Whether the handoff is there, and is what a run would write now, as far as is known without reading."""
    expected: str | None
    row: Model | None
    """What the catalog says."""
    files: Mapping[tuple[int, int], int]
    """The bytes of each file that is here now, by device and inode."""
    trouble: str | None
    """The whole error that keeps the model from being used now."""
    fault: str | None
    """The whole error that a strict verification would have ended in, where the model was handed off all the same."""
    reasons: tuple[Reason, ...]
    """Why the next run would do something, and what follows from that."""
    fetched: bool
    """Whether the next run could bring the model here."""
    last: LastReading | None
    hashed: str | None
    """When SHA-256 last went over every byte, of the file for which that is longest ago."""
    companions: tuple[CompanionReport, ...]
    signature: SignatureReport | None
    """None where the entry names no signature."""
    history: tuple[Transition, ...]
    """Its last moves from state to state, in the order in which they happened."""

    @property
    def pinned(self) -> bool:
        """Whether the model and each of its companions has a digest that it must have."""
        return self.expected is not None and all(each.expected is not None for each in self.companions)

    @property
    def size(self) -> int:
        """The bytes that its files take now."""
        return sum(self.files.values())

    @property
    def stands(self) -> Stands:
        """How the model stands."""
        lifecycle = None if self.row is None else self.row.lifecycle
        if lifecycle == "Retired":
            return "retired"
        if self.trouble is not None and not self.fetched:
            return "failed"
        if self.row is None:
            return "new"
        if lifecycle == "Failed":
            return "tolerated" if self.row.outcome == "fail" and self.handoff_state == "confirmed" else "failed"
        if lifecycle == "Pending":
            return "pending"
        return "stale" if self.reasons else "current"

    @property
    def why(self) -> tuple[str, ...]:
        """What the next run would act upon, in words, less what only follows."""
        return tuple(reason.text for reason in self.reasons if not reason.follows)

    @property
    def error(self) -> str | None:
        """The whole error of a model that failed, with its fix: what is wrong now, else what was when it was verified."""
        row = self.row
        if self.stands not in {"failed", "tolerated"}:
            return None
        if row is None or (self.trouble is not None and not self.fetched):
            return self.trouble
        return self.fault or row.reason or "the last attempt failed"

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "catalog": None if self.row is None else self.row.as_json(),
            "companions": [asdict(each) for each in self.companions],
            "current": not self.reasons,
            "file_count": len(self.files),
            "history": [moved.as_json() for moved in self.history],
            "last_hashed": self.hashed,
            "last_read": None if self.last is None else vars(self.last),
            "reasons": [{"step": reason.step, "text": reason.text} for reason in self.reasons if not reason.follows],
            "signature": None if self.signature is None else self.signature.as_json(),
        }
