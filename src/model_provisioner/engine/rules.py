"""The options of a run that decide what it does. Every no-op imports this module, so it imports next to nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the command line and the environment ask of a run, beside the configuration."""

    full: bool = False
    """Answer from no memo: SHA-256 of every byte."""
    require_digest: bool = False
    """A model for which no digest is given fails."""
    offline: bool = False
    """Nothing is contacted, whatever the configuration allows."""
    locked: bool = False
    """A model that the lock file does not name, as the configuration has it, fails."""
