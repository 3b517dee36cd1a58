"""Objects are sent to a bucket: in one request, or in parts where they are larger than one may be.

The storage is told the SHA-256 of every request beforehand, signed with it, and takes no other bytes.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from model_provisioner.errors import ChangingModelError, ProvisionError
from model_provisioner.fetchers.s3.bucket import Bucket
from model_provisioner.fetchers.s3.session import Payload
from model_provisioner.fetchers.s3.xml import read_error, read_upload
from model_provisioner.fs.read import Piece
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fetchers.s3.bucket import Response

ONE_REQUEST = 5 << 30
"""Bytes that an object may have to be sent in one request."""
PART = 512 << 20
"""Bytes of a part of a larger one."""
PARTS = 10_000
"""How many parts an object may have."""
_ACCESS = "ask for s3:PutObject, s3:GetObject and s3:AbortMultipartUpload under the prefix, and for s3:ListBucket on the bucket"


class UploadBucket(Bucket):
    """A bucket that objects are sent to."""

    def put(self, key: str, path: str, sha256: str, size: int, tell: Callable[[int], object]) -> None:
        """Send the file at `path`, of this SHA-256 (hexadecimal) and `size` in bytes, as the object of a key.

        `tell` is given the count of bytes of each piece, and what it raises ends it. An object is whole or not there.
        Raises `FetchError`, and `ChangingModelError` where the file holds other bytes by now.
        """
        if size <= ONE_REQUEST:
            payload = Payload(size, sha256, lambda: Piece(path, 0, size, tell))
            headers = {"content-type": "application/octet-stream", **_checksum(sha256)}
            self._done(self._ask("PUT", key, {}, headers, payload), key, path)
            return
        headers = {"content-type": "application/octet-stream", "x-amz-checksum-algorithm": "SHA256"}
        begun = self._done(self._ask("POST", key, {"uploads": ""}, headers, _text(b"")), key, path)
        upload = self._read(begun, "InitiateMultipartUploadResult", "UploadId")
        try:
            parts = self._parts(key, upload, path, sha256, size, tell)
            text = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
            ended = self._done(self._ask("POST", key, {"uploadId": upload}, {}, _text(text)), key, path)
            self._read(ended, "CompleteMultipartUploadResult", "ETag")
        except BaseException:
            with suppress(ProvisionError):  # what is left of it costs its owner money
                self._ask("DELETE", key, {"uploadId": upload})
            raise

    def _parts(
        self, key: str, upload: str, path: str, sha256: str, size: int, tell: Callable[[int], object]
    ) -> list[str]:
        """Send the parts of a file; return what completes them. Each is read twice: its digest goes before it."""
        whole, found = hashlib.sha256(), []
        step = max(PART, -(-size // PARTS))
        for number, start in enumerate(range(0, size, step), start=1):
            count = min(step, size - start)
            part = hashlib.sha256()
            with Piece(path, start, count) as piece:
                while chunk := piece.read(1 << 20):
                    part.update(chunk)
                    whole.update(chunk)
            if start + count == size and whole.hexdigest() != sha256:
                raise _changed(path, sha256, whole.hexdigest())

            def opened(start: int = start, count: int = count) -> Piece:
                return Piece(path, start, count, tell)

            payload = Payload(count, part.hexdigest(), opened)
            query = {"partNumber": str(number), "uploadId": upload}
            sent = self._done(self._ask("PUT", key, query, _checksum(part.hexdigest()), payload), key, path)
            etag, checksum = escape(sent.headers.get("ETag", "")), _base64(part.hexdigest())
            told = f"<ETag>{etag}</ETag><ChecksumSHA256>{checksum}</ChecksumSHA256><PartNumber>{number}</PartNumber>"
            found.append(f"<Part>{told}</Part>")
        return found

    def _done(self, response: Response, key: str, path: str) -> Response:
        """Return a response that says that a request was done; raise the error for any other."""
        code = read_error(response.body)[0]
        if response.status == 200 and not code:
            return response
        if code in {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}:
            raise not_taken(path, code)
        error = self._error(response, key)
        if response.status == 403:
            error.what, error.expected = "our credentials may not write this", "a bucket and a key that we may write"
            error.fix = _ACCESS
        raise error

    def _read(self, response: Response, name: str, field: str) -> str:
        try:
            return read_upload(response.body, name, field)
        except ValueError as error:
            raise self._no_storage(str(error)) from None


def _text(data: bytes) -> Payload:
    return Payload(len(data), hashlib.sha256(data).hexdigest(), lambda: data)


def _checksum(sha256: str) -> dict[str, str]:
    """Return the headers by which a storage verifies a SHA-256, and keeps it to tell it later."""
    return {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": _base64(sha256)}


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _changed(path: str, wanted: str, found: str) -> ChangingModelError:
    return ChangingModelError(
        "the file changed while it was sent",
        where=path,
        expected=f"sha256:{wanted}",
        found=f"sha256:{found}",
        fix=f"run `{called('provision')}`, and this again",
    )


def not_taken(path: str, code: str) -> ChangingModelError:
    """Return the error for a file of which a mirror says, by a code, that it received other bytes than were announced."""
    return ChangingModelError(
        "the mirror did not take a file, for other bytes came than those that were verified",
        where=path,
        expected="a file at rest, and a connection that changes nothing",
        found=code,
        fix=f"run `{called('provision')}`, and this again",
    )
