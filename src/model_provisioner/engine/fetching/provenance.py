"""What this user's records say afterwards of files that were fetched: their digests, and what source gave them."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from model_provisioner.fs.clock import TICK_NS
from model_provisioner.fs.fileset import discover
from model_provisioner.fs.identity import identity_of
from model_provisioner.hashing.memo_rows import Row
from model_provisioner.records.catalog.catalog import now
from model_provisioner.references.digest import Digest, dirhash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import Listing
    from model_provisioner.store.arriving.partial import Received


def note_origin(
    work: Workspace, model_id: str, listing: Listing, tree: str, digests: Mapping[str, str], given: Iterable[str]
) -> None:
    """Note what the source of a model gave, where it listed or gave each file: only that is believed of a model's origin.

    `digests` has the SHA-256 of each file by name, and `given` those of the files that the source gave this user.
    """
    listed = {file.name: file.sha256 for file in listing.files}
    unlisted = Counter(sha256 for name, sha256 in digests.items() if listed.get(name) != sha256)
    if unlisted <= Counter(given):
        one = discover(tree, stores=(work.store.blobs,)).kind == "file"
        digest = Digest("sha256", *digests.values()) if one else dirhash(digests.items())
        work.fetches.note(model_id, digest, listing.revision, now())


def note_digests(work: Workspace, received: Sequence[Received]) -> None:
    """Note in the memo what was hashed while it came, so that it is not read again.

    Nobody but us could write these files before they had their names, and they are read-only since; a write after the tick
    that ends here would move their times. What another host published meanwhile is read as if it had been there.
    """
    paths = {work.store.blob_path(each.sha256): each for each in received}
    found = {path: identity_of(path) for path in paths}
    before = {path: it for path, it in found.items() if (it.device, it.inode) == paths[path].file}
    if before:
        time.sleep(TICK_NS / 1e9)
    rows = {
        path: Row(
            before[path], each.fingerprint, each.sha256, ground="hashed", settled=True, hashed_at=int(time.time())
        )
        for path, each in paths.items()
        if path in before and identity_of(path) == before[path]
    }
    work.memo.keep(rows)
    work.received.update(row.identity for row in rows.values())
