"""A file that says what is wanted, as this run read it; and how it is read again just before anything is handed off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.clock import at_rest
from model_provisioner.fs.identity import Identity, identity_or_none

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Source:
    """The bytes of a file, None where there is none."""

    path: str
    data: bytes | None
    _read: Callable[[str], bytes | None]
    _identity: Identity | None
    """Its identity, where that can be trusted to move with its bytes."""

    @staticmethod
    def of(path: str, read: Callable[[str], bytes | None]) -> Source:
        """Read a file by `read`, and raise what that raises."""
        status = identity_or_none(path)  # before it is read
        rests = status is not None and at_rest(path, status)
        return Source(path, read(path), read, status if rests else None)

    def again(self) -> bytes | None:
        """Return the bytes that the file has now."""
        now = identity_or_none(self.path)
        if (self._identity is not None and self._identity == now) or (now is None and self.data is None):
            return self.data
        return self._read(self.path)
