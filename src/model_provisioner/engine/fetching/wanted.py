"""What is asked of a source: one file, with all that is known of it beforehand."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing import Self

    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.records.catalog.downloads import NotedDownload
    from model_provisioner.store.arriving.partial import Received


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is asked of its source."""

    file: RemoteFile
    key: str
    """The key of its download: by its digest, so that two references to the same bytes wait for one another."""
    sha256: str | None
    """The SHA-256 that its bytes must have, where it is known."""
    size: int | None
    is_pinned: bool
    """Whether the user or the lock said so, and not the source alone."""
    request: bytes | None
    """What is asked of whom, and as whom; None where the SHA-256 is known, or nobody can say what else came for the same."""
    since: int
    """The number of the last download of which the source may have something newer: see `NotedDownload`."""
    anew: bool
    """Whether the source is to say what it has now, whatever an earlier run brought."""

    by_digest: bool = False
    """Whether any place that has these bytes will do, and not the source alone."""

    def is_met_by(self, found: NotedDownload | None) -> bool:
        """Tell whether what another run downloaded for the same request will do."""
        return found is not None and found.will_do(self.since, anew=self.anew)

    @property
    def host(self) -> str:
        """Who is asked for it."""
        return urlsplit(self.file.url).hostname or ""


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A file that is in the store."""

    sha256: str
    origin: str
    """Where it came from, in words."""
    received: Received | None = None
    """What this run received itself, None where it was there."""
    by_source: bool = False
    """Whether its source gave the bytes."""


@dataclass(frozen=True)
class Requests:
    """Tells the requests for files apart by which their downloads are known."""

    secret: bytes = field(repr=False)
    """Nobody without it can try out which credentials a request was made with."""
    since: int
    """The number of the last download that ended before this run wanted anything."""
    anew: bool = False
    """As `Wanted` has it."""

    @classmethod
    def begin(cls, work: Workspace) -> Self:
        """Return the requests of a fetch that begins now. Raises `StorageError`."""
        return cls(work.memo.fingerprints.render(), work.downloads.last())

    def wanted(
        self,
        file: RemoteFile,
        key: str,
        sha256: str | None,
        size: int | None,
        *,
        is_pinned: bool,
        by_digest: bool,
    ) -> Wanted:
        """Return a file as it is wanted; `key` and what follows are as `Wanted` has them.

        Of a file whose version the source has just named, any download of that version will do.
        """
        version = file.git_blob or file.headers.get("if-match")
        return Wanted(
            file=file,
            key=key,
            sha256=sha256,
            size=size,
            is_pinned=is_pinned,
            request=None if sha256 is not None else self._request(file, key, version),
            since=0 if version else self.since,
            anew=self.anew,
            by_digest=by_digest and sha256 is not None,
        )

    def _request(self, file: RemoteFile, key: str, version: str | None) -> bytes | None:
        from model_provisioner.fetchers.http.credentials import Credentials
        from model_provisioner.fetchers.http.url import Url

        if file.git_blob is not None:
            asked: object = key  # which names the version, and no commit that has it
        elif version is not None:
            asked = file.url, version
        elif file.sign is None:
            asked = (
                file.url,
                *file.headers.items(),
                *Credentials().for_url(Url.parse(file.url), redirected=False).items(),
            )
        else:
            return None
        return hmac.digest(self.secret, json.dumps(asked).encode(), "sha256")


def downloaded(work: Workspace, wanted: Wanted) -> NotedDownload | None:
    """Return what a run of this user last downloaded for the same request, if that is here."""
    if wanted.request is None or (found := work.downloads.find(wanted.request)) is None:
        return None
    work.lease.use([found.sha256])  # before the look: from then on nobody evicts it
    return found if work.store.has(found.sha256, found.size) else None
