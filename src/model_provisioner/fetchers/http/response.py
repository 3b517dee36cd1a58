"""The response that brings a file: where its bytes begin, how many there are, and the bytes, all of it checked."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.ahead import read_ahead
from model_provisioner.fetchers.http.begun import LieError
from model_provisioner.fetchers.http.connections import HTTPError
from model_provisioner.fetchers.http.failures import network_error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from urllib3 import BaseHTTPResponse

    from model_provisioner.fetchers.http.begun import Begun
    from model_provisioner.fetchers.http.url import Url

CHUNK = 1 << 20
_PATIENCE = 0.2
"""Seconds after which bytes are handed on though they are fewer than `CHUNK`: the caller shows progress, and may stop."""
_SLOWEST = 4096
"""Bytes a second, of one file. Who sends fewer for as long as a stall may last has stalled: a timeout alone sees no trickle."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNBELIEVABLE = (
    "a server that lies about what it sends can't be fetched from; download the model and point model_ref at the file"
)


class FileResponse:
    """The bytes of a file, from `offset` on."""

    def __init__(
        self, response: BaseHTTPResponse, url: Url, *, begun: Begun | None = None, size: int | None = None
    ) -> None:
        """Read the headers. `begun` is what is here, where the rest was asked for.

        `size` is how many bytes the file has to have, where that is known. Raises `FetchError` for headers that can't be
        believed.
        """
        self._end: int | None
        """Where the promised body ends."""
        self.host = url.host
        """The host that the bytes come from, behind all redirects."""
        self.validator = _validator_of(response)
        """What tells that the file is still the same: a strong ETag, else the time of its last change, else None."""
        self._response, self._url = response, url
        length = _length(response)
        if encoding := _encoding(response):
            raise FetchError(
                f"{url.host} sends the file in an encoding that was not asked for",
                where=str(url),
                expected="the bytes as they are",
                found=f"Content-Encoding: {encoding}",
                fix="download the model and point model_ref at the file",
            )
        self._at, self._end, total = 0, length, length
        if (
            begun is not None and response.status == HTTPStatus.NOT_MODIFIED
        ):  # nothing follows, whatever its headers say
            self._at = self._end = total = begun.size
        elif (part := _content_range(response, url)) is not None:
            self._at, self._end, total = part
            if length is not None and length != self._end - self._at:
                raise self._lie(f"Content-Range of {self._end - self._at:,} bytes", f"Content-Length: {length}")
        self.offset = 0 if begun is None or not self._at else begun.size
        """Where the bytes begin that `chunks` yields."""
        self._check_agrees(begun, total)
        self.is_as_begun = begun is not None and (
            self.offset == begun.size or (self.validator, total) == (begun.validator, begun.total)
        )
        """Whether it is of the version that was begun, and known to be."""
        if size is not None and total is not None and total != size:
            raise FetchError(
                f"the file at {url.host} has another size than its source says",
                where=str(url),
                expected=f"{size:,} bytes",
                found=f"{total:,} bytes",
                fix="it may have just been changed there: try again; else tell who runs the server",
            )
        if begun is not None and total is None:
            total = begun.total
        self.total = size if total is None else total
        """Bytes of the whole file, None where nobody knows."""
        self.has_end = self.total is not None or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        """Whether the end of the file can be told from a connection that broke off."""

    def chunks(self) -> Generator[bytes]:
        """Yield the bytes from `offset` to the end, about a MiB at a time; a thread receives what comes next meanwhile.

        What came before trouble is yielded before it is raised: `IncompleteError` for a stall or a cut, `FetchError`
        for more bytes than there may be. The response is of no use to one who leaves before the end.
        """
        return read_ahead(self._chunks(), self._shut)

    def _chunks(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        held, since = 0, time.monotonic()
        failure: FetchError | None = None
        for data in self._pieces():
            if isinstance(data, FetchError):
                failure = data
                break
            parts.append(data)
            held += len(data)
            if held >= CHUNK or time.monotonic() - since >= _PATIENCE:
                yield parts[0] if len(parts) == 1 else b"".join(parts)
                parts, held, since = [], 0, time.monotonic()
        if parts:
            yield b"".join(parts)
        if failure is not None:
            raise failure

    def _shut(self) -> None:
        """Let the thread that waits for bytes be told that there are none. What it still takes nobody gets."""
        with suppress(HTTPError, OSError, ValueError, RuntimeError):  # it may be done with by now
            self._response.shutdown()

    def _check_agrees(self, begun: Begun | None, total: int | None) -> None:
        """Raise `FetchError` unless these are the bytes that were asked for: the whole file, or the rest of the one begun.

        The status does not tell: there are servers that send a part as 200, and some that send one of another file.
        """
        if begun is None:
            if self._at:
                raise self._lie("the file from its first byte on", f"bytes from {self._at:,} on")
            return
        if self._at not in {0, begun.size - 1} and self._response.status != HTTPStatus.NOT_MODIFIED:
            raise self._lie(f"bytes from {begun.size - 1:,} on", f"bytes from {self._at:,} on")
        # An answer to If-Range or If-None-Match must repeat the ETag, but one to If-Range need not repeat the date.
        named = begun.validator is not None and (self.validator is not None or begun.has_etag)
        if named and self.validator != begun.validator:
            raise self._lie(f"the version {begun.validator}", f"{self.validator or 'no ETag'}")
        # One that begins anew, without a word about its length, may be a part that is not said to be one.
        if total != begun.total and (not self._at or None not in (total, begun.total)):
            raise self._lie(f"a file of {begun.total} bytes, as it said before", f"{total}")

    def _pieces(self) -> Iterator[bytes | FetchError]:
        """Yield the bytes as they come; at the end the trouble, if there was any."""
        end = self.total if self._end is None else self._end
        read = self._response.read1
        waited, came = 0.0, 0  # since the speed was last checked; the time that the caller takes does not count
        while True:
            began = time.monotonic()
            try:
                data = read(CHUNK)
            except HTTPError as error:
                failure = network_error(self._url, error)
                failure.expected = "the whole file"
                failure.found = self._so_far() if failure.found == "none" else failure.found
                yield failure
                return
            if not data:
                break
            waited += time.monotonic() - began
            came += len(data)
            if self._at < self.offset:
                skipped = min(self.offset - self._at, len(data))
                self._at += skipped
                data = data[skipped:]
            self._at += len(data)
            if end is not None and self._at > end:
                yield self._lie(f"{end:,} bytes", "more")
                return
            if data:
                yield data
            if waited > connections.STALL:
                if came < _SLOWEST * waited:
                    yield self._incomplete(f"{self.host} sends next to nothing", f"{came} bytes in {waited:.0f} s")
                    return
                waited, came = 0.0, 0
        if self.total is not None and self._at < self.total:
            yield self._incomplete(f"{self.host} broke off before the end of the file", self._so_far())

    def _so_far(self) -> str:
        return f"{self._at:,} bytes" if self.total is None else f"{self._at:,} of {self.total:,} bytes"

    def _incomplete(self, what: str, found: str) -> IncompleteError:
        return IncompleteError(
            what, where=str(self._url), expected="the whole file", found=found, fix="try again later"
        )

    def _lie(self, expected: str, found: str) -> LieError:
        return LieError(
            f"{self.host} does not send what it says",
            where=str(self._url),
            expected=expected,
            found=found,
            fix=_UNBELIEVABLE,
        )


def _content_range(response: BaseHTTPResponse, url: Url) -> tuple[int, int, int | None] | None:
    """Return where the part begins, where it ends (the byte after), and the size of the whole; None for the whole file.

    Raises `FetchError` for a part of which that is not said.
    """
    text = response.headers.get("Content-Range", "")
    if found := _CONTENT_RANGE.fullmatch(text.strip()):
        start, end = int(found[1]), int(found[2]) + 1
        total = None if found[3] == "*" else int(found[3])
        if start < end and (total is None or end <= total):
            return start, end, total
    if response.status != 206:
        return None
    raise FetchError(
        f"{url.host} sends a part of the file without a sound word about which",
        where=str(url),
        expected="Content-Range: bytes FIRST-LAST/SIZE",
        found=f"Content-Range: {text[:80]}" if text else "no Content-Range",
        fix=_UNBELIEVABLE,
    )


def _validator_of(response: BaseHTTPResponse) -> str | None:
    """Return what may stand in `If-Range`: a strong ETag, else a date that is a second older than the response."""
    etag = response.headers.get("ETag", "").strip()
    if len(etag) > 2 and etag[0] == etag[-1] == '"':
        return etag
    changed = response.headers.get("Last-Modified", "").strip()
    try:
        age = parsedate_to_datetime(response.headers["Date"]) - parsedate_to_datetime(changed)
    except (KeyError, TypeError, ValueError):
        return None
    return changed if age.total_seconds() >= 1 else None


def _encoding(response: BaseHTTPResponse) -> str:
    """Return how the bytes are encoded, empty for as they are.

    `aws-chunked` says how an object was once uploaded: some storages keep that as if it were a property of its bytes.
    """
    told = (each.strip() for each in response.headers.get("Content-Encoding", "").lower().split(","))
    return ", ".join(each for each in told if each not in {"", "identity", "aws-chunked"})


def _length(response: BaseHTTPResponse) -> int | None:
    """Return how many bytes the body should have; None where the server does not say, or something else tells the end."""
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
