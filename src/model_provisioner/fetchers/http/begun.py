"""What was begun of a file: the rest has to agree with it."""

from __future__ import annotations

from dataclasses import dataclass

from model_provisioner.errors import FetchError


class LieError(FetchError):
    """A response that is not what it says it is, or not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is here of a file, and what its server said of the whole when that came."""

    size: int
    """Bytes that are here, from the beginning of the file."""
    validator: str
    total: int | None
    """Bytes of the whole file, None where it was not said."""

    @property
    def range(self) -> dict[str, str]:
        """The headers that ask for the rest. The last byte that is here is asked for again: a whole file has none after it."""
        return {"range": f"bytes={self.size - 1}-", "if-range": self.validator}
