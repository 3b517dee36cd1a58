"""Where a mirror holds the file with a SHA-256: what a web server, a bucket and a registry say of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.http.begun import LieError
from model_provisioner.fetchers.listing import RemoteFile
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fetchers.http.client import HttpClient
    from model_provisioner.fetchers.oci.registry import Registry
    from model_provisioner.fetchers.s3.bucket import Bucket
    from model_provisioner.references.mirror import Mirror


class MirrorReader(Protocol):
    """Knows where one mirror holds files."""

    def find(self, sha256: str, size: int | None, name: str) -> RemoteFile:
        """Return where the file with a SHA-256 is, of `size` bytes if that is known; `name` is for messages.

        Raises `FetchError`, of status 404 where the mirror says that it lacks it, and `NotAllowedError`.
        """


def reader_of(mirror: Mirror, client: HttpClient, check: Callable[[str], None]) -> MirrorReader:
    """Return what knows where a mirror holds files; its questions go over the connections of `client`.

    `check` is given each host before it is contacted. Raises `NotAllowedError`, and where botocore or its settings are
    missing what `Bucket` raises.
    """
    if mirror.kind == "https":
        return _Web(mirror)
    if mirror.kind == "oci":
        from model_provisioner.fetchers.oci.place import registry_place
        from model_provisioner.fetchers.oci.registry import Registry

        return _Blobs(mirror, Registry(registry_place(mirror.place, mirror.path), client))
    from model_provisioner.fetchers.s3.bucket import Bucket

    return _Objects(mirror, Bucket(mirror.place, check, terms=client.terms, connections=client.connections))


@dataclass(frozen=True)
class _Web:
    """A web server. There is nothing to ask: the bytes come, or a 404."""

    mirror: Mirror

    def find(self, sha256: str, size: int | None, name: str) -> RemoteFile:
        return RemoteFile(name=name, url=self.mirror.url(sha256), size=size, sha256=sha256)


@dataclass(frozen=True)
class _Objects:
    """A bucket. It is asked first: only the answer says in which region the object is, and what it is."""

    mirror: Mirror
    bucket: Bucket

    def find(self, sha256: str, size: int | None, name: str) -> RemoteFile:
        found = self.bucket.find(self.mirror.key(sha256), name)
        if found is None:
            raise lacks(self.mirror, sha256)
        if found.sha256 not in {None, sha256}:
            raise LieError(
                f"{self.mirror} has another file in this place",
                where=where_of(self.mirror, sha256),
                expected=f"sha256:{sha256}",
                found=f"sha256:{found.sha256}",
                fix=f"remove it there, and send the right one by `{called('mirror --to')}`",
            )
        return replace(found, size=found.size if size is None else size, sha256=sha256)


@dataclass(frozen=True)
class _Blobs:
    """A repository of a registry. It is asked first: only the answer says whether a token is needed, and who gives it."""

    mirror: Mirror
    registry: Registry

    def find(self, sha256: str, size: int | None, name: str) -> RemoteFile:
        found = self.registry.size_of(sha256, str(self.mirror))
        if found is None:
            raise lacks(self.mirror, sha256)
        return self.registry.file(sha256, name, found if size is None else size)


def lacks(mirror: Mirror, sha256: str) -> FetchError:
    """Return the error for a mirror that does not have a file."""
    return FetchError(
        f"{mirror} has no such file",
        status=404,
        where=where_of(mirror, sha256),
        expected="the file",
        found="404 Not Found",
        fix=f"send it by `{called('mirror --to')}`",
    )


def where_of(mirror: Mirror, sha256: str) -> str:
    """Return where a mirror has a file, or would have it, for messages."""
    return f"{mirror}@sha256:{sha256}" if mirror.kind == "oci" else f"{mirror}sha256/{sha256[:2]}/{sha256}"
