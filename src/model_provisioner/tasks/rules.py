"""What a run was told. On the way of every no-op, so it imports next to nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a run was told beside the configuration."""

    full: bool = False
    """Answer from no memo: SHA-256 of every byte."""
    require_digest: bool = False
    """A model for which no digest is given fails."""
