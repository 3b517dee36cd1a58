"""What an audit found of a blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_provisioner.engine.verification.damage import Dependent
    from model_provisioner.errors import DamagedError, ProvisionError, StorageError
    from model_provisioner.records.store_audits import Blob


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A blob that is as its name says."""

    blob: Blob


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A blob that was evicted, or put away by another run, before it was read."""

    blob: Blob


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A blob of which it can't be told whether it is whole: it stays, and is as long unread as it was."""

    blob: Blob
    error: StorageError


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A blob that holds other bytes than its name says."""

    blob: Blob
    error: DamagedError
    dependents: tuple[Dependent, ...] = ()
    """The entries of this user's projects that had it: they are `Failed`."""
    elsewhere: tuple[str, ...] = ()
    """The projects of others that have it, in words: their next run fetches it again."""
    trouble: tuple[ProvisionError, ...] = ()
    """What kept the entries from being failed."""


Audited = Whole | Gone | Unread | Damaged
