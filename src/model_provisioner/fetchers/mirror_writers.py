"""Mirrors that files are sent to: a bucket, and a repository of a registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from model_provisioner.errors import FetchError, IncompleteError, InputError
from model_provisioner.fetchers.mirrors import where_of
from model_provisioner.fetchers.oci.media_types import EMPTY, MANIFESTS
from model_provisioner.fetchers.patience import Patience
from model_provisioner.fetchers.s3.upload import not_taken
from model_provisioner.fs.read import Piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fetchers.http.client import HttpClient
    from model_provisioner.fetchers.oci.registry import Registry
    from model_provisioner.fetchers.s3.upload import UploadBucket
    from model_provisioner.references.mirror import Mirror

_EMPTY = b"{}"
_EMPTY_SHA256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
_FILE = "application/octet-stream"


class MirrorWriter(Protocol):
    """Sends files to one mirror. Threads may share it."""

    def has(self, sha256: str, size: int) -> bool:
        """Tell whether the mirror has a file of this SHA-256 and `size` in bytes. Raises `FetchError`, `NotAllowedError`."""

    def send(self, path: str, sha256: str, size: int, tell: Callable[[int], object]) -> None:
        """Send the file at `path`; `tell` is given the count of bytes of each piece, and what it raises ends it.

        Raises `FetchError`, `NotAllowedError`, and `ChangingModelError` for a file that is not what it was.
        """


def writer_of(
    mirror: Mirror, client: HttpClient, check: Callable[[str], None], wait: Callable[[float, str], object]
) -> MirrorWriter:
    """Return what sends files to a mirror, over the connections of `client`.

    `check` is given each host before it is contacted, and `wait` waits where the mirror is busy. Raises `InputError` for a web
    server, and what `Bucket` raises.
    """
    if mirror.kind == "s3":
        from model_provisioner.fetchers.s3.upload import UploadBucket

        return _Objects(mirror, UploadBucket(mirror.place, check, wait, connections=client.connections))
    if mirror.kind == "oci":
        from model_provisioner.fetchers.oci.place import registry_place
        from model_provisioner.fetchers.oci.registry import PUSH, Registry

        place = registry_place(mirror.place, mirror.path)
        return _Blobs(mirror, Registry(place, client, wait, actions=PUSH))
    raise InputError(
        "a web server is a mirror that is read, and not written by this program",
        where="--to",
        expected="s3://BUCKET/PREFIX/ or oci:REGISTRY/REPOSITORY",
        found=str(mirror),
        fix="name the bucket or registry behind it; or copy the files there as sha256/<first two digits>/<64 digits>",
    )


@dataclass(frozen=True)
class _Objects:
    mirror: Mirror
    bucket: UploadBucket

    def has(self, sha256: str, size: int) -> bool:
        found = self.bucket.find(self.mirror.key(sha256), sha256)
        return found is not None and found.size == size and found.sha256 in {None, sha256}

    def send(self, path: str, sha256: str, size: int, tell: Callable[[int], object]) -> None:
        self.bucket.put(self.mirror.key(sha256), path, sha256, size, tell)
        if not self.has(sha256, size):
            raise _not_there(self.mirror, sha256, size)


@dataclass(frozen=True)
class _Blobs:
    """A repository in which a manifest holds each blob: what no manifest names is garbage to a registry.

    One for each file, tagged by its digest: whoever sends another file at the same time overwrites nothing.
    """

    mirror: Mirror
    registry: Registry

    def has(self, sha256: str, size: int) -> bool:
        where = where_of(self.mirror, sha256)
        return self.registry.size_of(sha256, where) == size and self.registry.manifest(_tag(sha256), where) is not None

    def send(self, path: str, sha256: str, size: int, tell: Callable[[int], object]) -> None:
        where = where_of(self.mirror, sha256)
        if self.registry.size_of(_EMPTY_SHA256, where) is None:
            self.registry.push(_EMPTY_SHA256, len(_EMPTY), _EMPTY, where)
        if self.registry.size_of(sha256, where) != size:
            self._push(path, sha256, size, tell, where)
        self.registry.put_manifest(_tag(sha256), _manifest(sha256, size), MANIFESTS[0], where)
        if not self.has(sha256, size):
            raise _not_there(self.mirror, sha256, size)

    def _push(self, path: str, sha256: str, size: int, tell: Callable[[int], object], where: str) -> None:
        patience = Patience(self.registry.wait)
        while True:
            try:
                with Piece(path, 0, size, tell) as body:
                    self.registry.push(sha256, size, body, where)
            except IncompleteError as error:
                if not patience.allows(error.wait, error.what):
                    raise
                if self.registry.size_of(sha256, where) == size:
                    return  # it came whole, and only the answer was lost
            except FetchError as error:
                raise not_taken(path, error.code) if error.code == "DIGEST_INVALID" else error from None
            else:
                return


def _tag(sha256: str) -> str:
    return f"sha256-{sha256}"


def _manifest(sha256: str, size: int) -> bytes:
    """Return the manifest of one file, as ORAS would write it; its name there is its digest."""
    empty = {
        "mediaType": EMPTY,
        "digest": f"sha256:{_EMPTY_SHA256}",
        "size": len(_EMPTY),
    }
    title = {"org.opencontainers.image.title": sha256}
    layer = {"mediaType": _FILE, "digest": f"sha256:{sha256}", "size": size, "annotations": title}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFESTS[0],
            "artifactType": _FILE,
            "config": empty,
            "layers": [layer],
        },
        separators=(",", ":"),
    ).encode()


def _not_there(mirror: Mirror, sha256: str, size: int) -> FetchError:
    return FetchError(
        "the mirror took a file and does not have it as it was sent",
        where=where_of(mirror, sha256),
        expected=f"{size:,} bytes of sha256:{sha256}",
        found="none, or others",
        fix="tell who runs the mirror",
    )
