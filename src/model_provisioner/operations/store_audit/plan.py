"""What an audit of a store has to do: its blobs are listed, and the record of earlier audits says which are due."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.store.layout import BLOBS
from model_provisioner.units import human

if TYPE_CHECKING:
    from model_provisioner.records.store_audits import StoreAudits, Total
    from model_provisioner.store.store import Store

SHELVES = [f"{number:02x}" for number in range(256)]

NAMED = 100
"""How many of the files that are no blobs are named: anybody in a group may have put them there."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an audit has to do, and what it leaves alone. Times are in nanoseconds since 1970."""

    began: int
    until: int
    """Blobs are due that were last audited at this time, or before."""
    due: Total
    recent: int
    """How many blobs were audited after that."""
    ahead: int
    """How many blobs had a time that lies in the future: a clock went back, and they count as never audited."""
    others: tuple[str, ...]
    """What lies among the blobs and is none, relative to the store: the first `NAMED`."""
    more: int
    """How many others there are beside these."""
    trouble: tuple[StorageError, ...]
    """What kept folders of blobs from being listed. What was known of their blobs stays."""


def plan(store: Store, audits: StoreAudits, older_than: int | None) -> Plan:
    """List the blobs; return which of them are due: all, or those last audited `older_than` seconds ago or more.

    Raises `StorageError` where the folder is no store, can't be listed, or lacks all blobs that earlier audits found.
    """
    began = time.time_ns()
    trouble: list[StorageError] = []
    try:
        names = store.shelves()
    except OSError as error:
        raise _unlisted(os.path.join(store.root, BLOBS), error) from None
    if names is None and (known := audits.total(sys.maxsize)).blobs:  # its disk may only not be mounted
        raise _missing(store, audits, known)
    strange = [f"{BLOBS}/{name}" for name in names or () if name not in SHELVES]
    others, more = strange[:NAMED], len(strange[NAMED:])
    for digits in SHELVES if names is not None else ():
        try:
            sizes, strange = store.shelf(digits)
        except OSError as error:
            trouble.append(_unlisted(os.path.join(store.root, BLOBS, digits), error))
            continue
        audits.found(digits, sizes)
        room = NAMED - len(others)
        others += strange[:room]
        more += len(strange[room:])
    ahead = audits.distrust_after(time.time_ns())  # another audit may have noted blobs since this one began
    until = began - 1 - (older_than or 0) * 10**9
    due = audits.total(until)
    recent = audits.total(sys.maxsize).blobs - due.blobs
    return Plan(
        began=began,
        until=until,
        due=due,
        recent=recent,
        ahead=ahead,
        others=tuple(others),
        more=more,
        trouble=tuple(trouble),
    )


def _missing(store: Store, audits: StoreAudits, known: Total) -> StorageError:
    return StorageError(
        "no blob of the store is there any more",
        where=os.path.join(store.root, BLOBS),
        expected=f"the blobs that earlier audits found: {known.blobs} with {human(known.size)}",
        found="no such folder",
        fix=f"mount the disk of the store; or, if you removed the store yourself, remove {audits.path}, which knows its blobs",
    )


def _unlisted(path: str, error: OSError) -> StorageError:
    return StorageError(
        "blobs can't be listed",
        where=path,
        expected="a folder that you may read, on a disk that is there",
        found=error.strerror or str(error),
        fix="give yourself read and search permission (r-x) for it, or check that its disk is sound; then audit again",
    )
