"""The signature that an entry names: who is to have signed its bytes, and the bundle that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What `signature` of an entry says: a key, or an identity with its issuer. Paths are absolute."""

    bundle: str
    public_key: str | None = None
    identity: str | None = None
    issuer: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What lies on the disk of it."""
        return (self.bundle,) if self.public_key is None else (self.bundle, self.public_key)
