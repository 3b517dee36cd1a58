"""Wrong bodies: what was fetched and is no model, or none of the kind that was asked for, and that nobody said must come.

Its record says so, and the next fetch asks the source for what it has by now. It stays here meanwhile, so that a source
that still has the same need not send it again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.engine.resolve import record_of, resolve_entry
from model_provisioner.errors import ProvisionError
from model_provisioner.headers.compatibility import read_checked
from model_provisioner.headers.reader import read_metadata

if TYPE_CHECKING:
    from model_provisioner.config.entries import Entry
    from model_provisioner.store.refs import Record
    from model_provisioner.store.store import Store


def wrong_record(store: Store, part: Entry) -> Record | None:
    """Return the record of a remote part of an entry if it is of a wrong body and neither lock nor digest names that."""
    if part.expected is not None:
        return None
    record = record_of(part, store)
    return record if record is not None and record.wrong else None


def is_right(store: Store, entry: Entry) -> bool:
    """Tell whether what is here for an entry is what it asks for, by its headers: nothing is hashed."""
    read = partial(read_checked, engine=entry.engine) if entry.engine and entry.role == "model" else read_metadata
    try:
        read(resolve_entry(entry, store))
    except ProvisionError:
        return False
    return True


def put_away_replaced(store: Store, record: Record) -> None:
    """Put away the files of a wrong body that no reference resolves to any more. Raises `StorageError`."""
    others = {file.sha256 for each in store.records() for file in each.files}
    for file in record.files:
        if file.sha256 not in others:
            store.put_away(file.sha256)
