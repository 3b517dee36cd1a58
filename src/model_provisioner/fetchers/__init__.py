"""Where bytes come from. A fetcher yields chunks and writes nothing; there is none in this version.

References that are not local are understood, named and refused: see `model_provisioner.tasks.fetch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.models.reference import ModelRef


class Fetcher(Protocol):
    """Brings the bytes of one kind of reference."""

    def hosts(self, ref: ModelRef) -> tuple[str, ...]:
        """Return the hosts that would be contacted for `ref`, so that the policy can be asked first."""
        ...

    def chunks(self, ref: ModelRef, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes of `ref` from `offset` on. Raises `FetchError`."""
        ...
