"""Damage: fetched files whose bytes changed since are moved into quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.errors import DamagedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.store.store import Store


def put_away_damaged(store: Store, digests: Iterable[FileDigest]) -> None:
    """Put away every file that lies in the store under another SHA-256 than it was found to have.

    Raises `DamagedError` for the first of them: the next fetch brings them all again.
    """
    damaged: DamagedError | None = None
    for digest in digests:
        wanted = store.blob_behind(digest.path)
        if wanted is None or wanted == digest.sha256:
            continue
        try:
            away = store.corrupt(wanted)
        except StorageError as error:
            fix = f"remove {store.blob_path(wanted)}, which could not be moved away ({error.found}), and run again"
        else:
            fix = "run again, and it is fetched again" + (
                f"; the damaged one is kept for a week as {away}" if away else ""
            )
        damaged = damaged or DamagedError(digest.path, f"sha256:{wanted}", f"sha256:{digest.sha256}", fix=fix)
    if damaged is not None:
        raise damaged
