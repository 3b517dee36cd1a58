"""What a call for one model returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from model_provisioner.engine.verification.outcome import Outcome, Verification
    from model_provisioner.references.digest import Digest


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is present and was verified: its id, and the path to load it from."""

    id: str
    local_path: Path
    digest: Digest
    """Of the file, or of the set of files."""
    size: int
    """In bytes, all files together."""
    outcome: Outcome
    """"pass", or "warn" where no digest was expected; "fail" only for an entry that is lenient (`strict_verification`)."""

    @classmethod
    def of(cls, found: Verification) -> Self:
        """Return what a verification found."""
        return cls(found.ref.id, Path(found.files.path), found.digest, found.size, found.outcome)
