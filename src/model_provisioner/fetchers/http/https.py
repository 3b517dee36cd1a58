"""Bytes over https: redirects, ranges and retries, with the policy asked before each host that is contacted."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from model_provisioner.errors import FetchError, IncompleteError, NotAllowedError
from model_provisioner.fetchers.http.credentials import Credentials
from model_provisioner.fetchers.http.url import Url, check_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from urllib3 import BaseHTTPResponse

    from model_provisioner.fetchers.http.response import Answer
    from model_provisioner.fetchers.listing import RemoteFile

MAX_REDIRECTS = 10
LONGEST_WAIT = 60.0
"""Seconds that a server may make us wait before we ask again."""
PROGRESS = 64 << 10
"""New bytes that make a try worth its while. Fewer do not give the tries back, or a server could keep us for ever."""

_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class Https:
    """Asks servers for files. Threads may share one, and connections are kept between requests."""

    def __init__(
        self,
        check: Callable[[str], None],
        *,
        environ: Mapping[str, str] = os.environ,
        connect: float = 10.0,
        stall: float = 30.0,
    ) -> None:
        """`check` is given each host before it is contacted, and raises where it may not be.

        `connect` is how many seconds a connection may take, `stall` for how many no byte may come.
        """
        from model_provisioner.fetchers.http.connections import Connections

        self._check = check
        self._credentials = Credentials(environ)
        self._connections = Connections(environ, connect=connect, stall=stall)
        self._stall = stall

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections, also of those that other threads wait for."""
        self._connections.close()

    @contextmanager
    def open(
        self,
        url: str,
        *,
        offset: int = 0,
        validator: str | None = None,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Answer]:
        """Ask for the bytes of `url` from `offset` on, if they are still those that had `validator`; else for all of them.

        `headers` go to the host of `url` only. `size` is what the file has to have, `limit` what it may have, in bytes.
        Raises what `check` raises, `IncompleteError` for what may pass, `FetchError` for what will not.
        """
        from model_provisioner.fetchers.http.connections import let_go
        from model_provisioner.fetchers.http.response import Answer

        first, headers = Url.parse(url), headers or {}
        # The last byte that is here is asked for again: a file that is here whole has no byte after it to ask for.
        part = {"range": f"bytes={offset - 1}-", "if-range": validator} if offset and validator else {}
        response, last = self._follow(first, headers, part)
        try:
            if part and not _continues(response, last, offset, validator):
                let_go(response)
                part = {}
                response, last = self._follow(first, headers, part)
            if response.status != 200 and not (part and response.status == 206):
                raise self._refusal(response, last, headers if last.origin == first.origin else None)
            answer = Answer(response, last, offset=offset, size=size, limit=limit, stall=self._stall)
            yield answer
        finally:
            let_go(response)

    def _follow(self, first: Url, headers: Mapping[str, str], part: Mapping[str, str]) -> tuple[BaseHTTPResponse, Url]:
        """Ask for `first` and go where redirects lead; return the answer that is none, and whose it is."""
        from model_provisioner.fetchers.http.connections import let_go

        url, came_from = first, ""
        own = {name.lower(): value for name, value in headers.items()}
        for _ in range(MAX_REDIRECTS + 1):
            self._admit(url, first, came_from)
            sent = {"user-agent": "model-provisioner", "accept": "*/*"}
            if "authorization" not in own:
                sent |= {k.lower(): v for k, v in self._credentials.for_url(url, redirected=bool(came_from)).items()}
            response = self._connections.get(url, {**sent, **own, **part, "accept-encoding": "identity"})
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                return response, url
            let_go(response)
            target = url.joined(location)
            if target.origin != url.origin:
                own = {}  # and they stay away: a host in between must not bring them back with another path
                came_from = url.host
            url = target
        raise FetchError(
            f"{first.host} redirects without end",
            where=str(first),
            expected=f"at most {MAX_REDIRECTS} redirects",
            fix="copy the link of the file from its page",
        )

    def _admit(self, url: Url, first: Url, came_from: str) -> None:
        """Raise unless `url` may be contacted."""
        try:
            self._check(url.host)
        except NotAllowedError as error:
            if came_from:
                error.found += f"; {came_from} redirects to {url.host}"
            raise
        check_scheme(url, asked=first.scheme, sender=came_from or url.host)

    def _refusal(self, response: BaseHTTPResponse, url: Url, headers: Mapping[str, str] | None) -> FetchError:
        """Word a status that brings no bytes; `headers` are None where a redirect led away from who they were for."""
        status, host = response.status, url.host
        known = any(name.lower() == "authorization" for name in headers or ()) or bool(
            self._credentials.for_url(url, redirected=headers is None)
        )
        netrc = self._credentials.path + (f" ({self._credentials.fault})" if self._credentials.fault else "")
        if status == 401:
            what = f"{host} does not take our credentials" if known else f"{host} wants credentials"
            fix = f"correct the credentials for {host}" if known else f"give credentials for {host} in {netrc}"
        elif status == 403:
            what = f"{host} does not let us have the file"
            fix = f"ask its owner for access; credentials are read from {netrc}"
        elif status in {404, 410}:
            what, fix = f"{host} has no such file", "check the reference"
        elif status == 412:
            what, fix = f"{host} has another version of the file by now", "run again, which takes the new one"
        elif status in _PASSING:
            what, fix = f"{host} can't serve the file now", "try again later"
        else:
            what, fix = f"{host} does not serve the file", "download the model and point model_ref at the file"
        kind = IncompleteError if status in _PASSING else FetchError
        error = kind(what, status=status, where=str(url), found=_status(status), fix=fix)
        if isinstance(error, IncompleteError):
            error.wait = _retry_after(response.headers.get("Retry-After", ""))
        return error


class Sink(Protocol):
    """Where the bytes of one file go."""

    @property
    def size(self) -> int:
        """Bytes that are here."""
        ...

    @property
    def validator(self) -> str | None:
        """What `begin` was given for them; None: nothing tells whose they are, and they are not gone on from."""
        ...

    def expect(self, total: int) -> object:
        """Hear that the whole file has `total` bytes. What it raises ends the fetch."""
        ...

    def begin(self, validator: str | None) -> None:
        """Get ready for bytes of `validator`: forget what is here, unless it is of the same one, which None never is."""
        ...

    def write(self, chunk: bytes) -> object:
        """Append bytes. What it raises ends the fetch."""
        ...


def fetch(
    https: Https,
    file: RemoteFile,
    sink: Sink,
    *,
    attempts: int = 5,
    sleep: Callable[[float], object] = time.sleep,
    limit: int | None = None,
) -> None:
    """Bring all bytes of `file` to `sink`, going on from what is there; nothing is said about what they are.

    Trouble that may pass is met with `attempts` tries, which start anew whenever one brought something. Raises
    `FetchError` when there is no hope, what `https` was told to check with, and what the sink raises.
    """
    best, tried = sink.size, 0
    while True:
        try:
            _try(https, file, sink, limit)
        except IncompleteError as error:
            tried = 1 if sink.size >= best + PROGRESS else tried + 1
            best = max(best, sink.size)
            if tried >= attempts:
                raise _without_hope(file, error, tried) from None
            sleep(min(LONGEST_WAIT, _backoff(tried) if error.wait is None else error.wait))
        else:
            return


def _try(https: Https, file: RemoteFile, sink: Sink, limit: int | None) -> None:
    pinned = file.sha256 is not None or file.git_blob is not None
    if pinned and sink.size == file.size and sink.size:
        return  # its digest will tell; a run was killed between the last byte and the rename
    if file.size is not None and sink.size > file.size:
        sink.begin(None)
    offset = sink.size
    headers = file.headers if file.sign is None else {**file.headers, **file.sign()}
    with https.open(
        file.url, offset=offset, validator=sink.validator, headers=headers, size=file.size, limit=limit
    ) as answer:
        if not answer.has_end and not pinned:
            raise FetchError(
                f"{answer.url_host} does not say how long {file.name} is, so that half of it would look like all of it",
                expected="a Content-Length, or a digest",
                fix="give its expected_digest, or download the model and point model_ref at the file",
            )
        if answer.total is not None:
            sink.expect(answer.total)
        if answer.offset == 0:
            sink.begin(answer.validator)
        # The same file again from its start, by a server that knows no ranges: what is here need not be written again.
        known = sink.size - answer.offset
        for whole in answer.chunks():
            chunk = whole[known:] if known else whole
            known = max(0, known - len(whole))
            if chunk:
                sink.write(chunk)


def _continues(response: BaseHTTPResponse, url: Url, offset: int, validator: str | None) -> bool:
    """Tell whether an answer can be used to go on from `offset`; not where the file may be another one by now.

    A server that does not know `If-Range` sends a part of whatever it has.
    """
    from model_provisioner.fetchers.http.response import content_range, validator_of

    if response.status == 416:
        return False
    if response.status != 206:
        return True
    start, _, _ = content_range(response, url)
    if start != offset - 1:
        raise FetchError(
            f"{url.host} sends another part of the file than was asked for",
            where=str(url),
            expected=f"bytes from {offset - 1:,} on",
            found=f"bytes from {start:,} on",
            fix="download the model and point model_ref at the file",
        )
    # An answer to If-Range must repeat the ETag, but need not repeat the date.
    found = validator_of(response)
    return found == validator or (found is None and not (validator or "").startswith('"'))


def _without_hope(file: RemoteFile, error: IncompleteError, tried: int) -> FetchError:
    return FetchError(
        f"{file.name} could not be fetched: {error.what}" + (f", {tried} times in a row" if tried > 1 else ""),
        status=error.status,
        where=error.where,
        expected=error.expected,
        found=error.found,
        fix="try again later: what is here already is kept, and gone on from",
    )


def _backoff(tried: int) -> float:
    """Return for how many seconds to wait: twice as long each time, and not in step with others who failed with us."""
    return min(30.0, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  nothing secret


def _retry_after(text: str) -> float | None:
    """Return the seconds of a `Retry-After`, which may be a date; None where there is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
