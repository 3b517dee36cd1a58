"""One repository of a registry: its manifests and blobs are asked for, looked for and sent.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. The bytes of files are fetched by `fetchers/http`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http.client import status_text
from model_provisioner.fetchers.http.url import Url
from model_provisioner.fetchers.listing import RemoteFile
from model_provisioner.fetchers.oci.errors import registry_error, reword_for_sender
from model_provisioner.fetchers.oci.manifest import MANIFEST_BYTES
from model_provisioner.fetchers.oci.media_types import INDEXES, MANIFESTS
from model_provisioner.fetchers.oci.tokens import Tokens
from model_provisioner.fetchers.patience import TRANSIENT, Patience, pause, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model_provisioner.fetchers.http.client import Answer, HttpClient
    from model_provisioner.fetchers.oci.place import Place

_ACCEPT = ", ".join((*MANIFESTS, *sorted(INDEXES)))
PULL, PUSH = "pull", "pull,push"
_SHORT = 1 << 20
"""Bytes of an answer that holds nothing but an error."""


@dataclass(frozen=True)
class Registry:
    """A repository, asked by a client that holds every host to the policy. Threads may share one."""

    place: Place
    client: HttpClient
    wait: Callable[[float, str], object] = pause
    """Waits some seconds where the registry is busy, and tells why."""
    actions: str = PULL
    """What tokens are asked for: `PUSH` for who sends blobs."""
    tokens: Tokens = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", Tokens(self.place, self.client, self.actions))

    def manifest(self, reference: str, where: str) -> tuple[bytes, str] | None:
        """Return the bytes of a manifest, by a tag or a digest, and their digest; None where there is none.

        `where` is for messages. Raises `FetchError` also for bytes of another digest than was asked for, and what the check
        of the client raises.
        """
        answer = self._ask("GET", self.place.url(f"manifests/{reference}"), {"accept": _ACCEPT}, MANIFEST_BYTES)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._error(answer, where)
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        said = reference if reference.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", digest)
        if said != digest and said.startswith("sha256:"):
            raise FetchError(
                f"{self.place.host} sends another manifest than it says",
                where=where,
                expected=said[:80],
                found=digest,
                fix="run again; if it is wrong again, tell who runs the registry",
            )
        return answer.body, digest

    def file(self, sha256: str, name: str, size: int | None) -> RemoteFile:
        """Return a blob as a file that can be fetched: of `size` bytes, and of this SHA-256 or it is not taken."""
        url = self.place.url(f"blobs/sha256:{sha256}")
        return RemoteFile(name=name, url=url, size=size, sha256=sha256, sign=self.tokens.header)

    def size_of(self, sha256: str, where: str) -> int | None:
        """Return the bytes that the registry says a blob has; None where it has no such blob. Raises `FetchError`."""
        answer = self._ask("HEAD", self.place.url(f"blobs/sha256:{sha256}"), {}, _SHORT)
        if answer.status == 404:
            return None
        length = answer.headers.get("Content-Length", "")
        if answer.status != 200 or not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise self._error(answer, where)
        return int(length)

    def push(self, sha256: str, size: int, body: bytes | IO[bytes], where: str) -> None:
        """Send a blob in one piece, read from where `body` stands: the registry takes it only if its digest is right.

        A blob that broke off is served to nobody. What came of it lies there until the registry cleans up, after days: it
        can't be taken back from here. Raises `FetchError`, an `IncompleteError` where another try may help.
        """
        begun = self._ask("POST", self.place.url("blobs/uploads/"), {"content-length": "0"}, _SHORT)
        location = begun.headers.get("Location", "")
        if begun.status != 202 or not location:
            raise self._error(begun, where)
        target = urljoin(self.place.url("blobs/uploads/"), location)
        other = Url.parse(target).origin != self.place.origin
        ours = {} if other else self.tokens.header()  # a token is for the registry alone
        headers = {"content-length": str(size), "content-type": "application/octet-stream", **ours}
        mark = "&" if "?" in target else "?"
        url = f"{target}{mark}digest=sha256:{sha256}"
        answer = self.client.ask(url, method="PUT", headers=headers, body=body, limit=_SHORT, as_nobody=other)
        if answer.status != 201:
            raise self._error(answer, where)

    def put_manifest(self, tag: str, manifest: bytes, media_type: str, where: str) -> None:
        """Send a manifest under a tag, in the place of what the tag named. Raises `FetchError`."""
        url = self.place.url(f"manifests/{tag}")
        headers = {"content-type": media_type, "content-length": str(len(manifest))}
        answer = self._ask("PUT", url, headers, _SHORT, manifest)
        if answer.status != 201:
            raise self._error(answer, where)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], limit: int, body: bytes | None = None) -> Answer:
        """Return the answer to a question, asked again where that may help: with a token, or later."""
        patience, tried = Patience(self.wait, self.client.terms), False
        while True:
            try:
                ours = self.tokens.header()
                answer = self.client.ask(url, method=method, headers={**headers, **ours}, body=body, limit=limit)
                if answer.status == 401 and not tried:
                    tried = True
                    if self.tokens.answer(answer, ours):
                        continue
            except IncompleteError as error:
                if not patience.allows(error.wait, error.what):
                    raise
                continue
            if answer.status not in TRANSIENT or not patience.allows(
                wait_asked_by(answer.headers), f"{self.place.host} answers with {status_text(answer.status)}"
            ):
                return answer

    def _error(self, answer: Answer, where: str) -> FetchError:
        found = self.tokens.found()
        error = registry_error(answer, self.place, found, where)
        if self.actions != PULL and answer.url.origin == self.place.origin:
            reword_for_sender(error, self.place, found)
        return error
