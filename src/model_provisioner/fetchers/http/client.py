"""Requests over https: redirects and ranges, with the policy asked before each host that is contacted."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import IO, TYPE_CHECKING

from model_provisioner.errors import FetchError, IncompleteError, NotAllowedError
from model_provisioner.fetchers.http.credentials import Credentials
from model_provisioner.fetchers.http.url import Url, check_scheme
from model_provisioner.fetchers.patience import SOURCE, TRANSIENT, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from urllib3 import BaseHTTPResponse

    from model_provisioner.fetchers.http.begun import Begun
    from model_provisioner.fetchers.http.response import FileResponse
    from model_provisioner.fetchers.patience import Terms

MAX_REDIRECTS = 10
_REDIRECTS = {301, 302, 303, 307, 308}
_ASKING = {"GET", "HEAD"}
"""The methods that are repeated where a redirect leads: what sends something is for the host that it was meant for."""
ANSWER_SECONDS = 60.0
"""What a whole answer may take."""
_XML_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response that is here as a whole, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes = field(repr=False)
    url: Url
    """Who answered, behind all redirects."""


class HttpClient:
    """Asks servers for files. Threads may share one, and connections are kept between requests."""

    def __init__(self, check: Callable[[str], None], terms: Terms = SOURCE) -> None:
        """`check` is given each host before it is contacted, and raises where it may not be."""
        from model_provisioner.fetchers.http.connections import Connections

        self._check = check
        self._credentials = Credentials()
        self.connections = Connections(terms)
        self.terms = terms

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, also those that other threads wait for."""
        self.connections.close()

    @contextmanager
    def open(
        self,
        url: str,
        *,
        begun: Begun | None = None,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
    ) -> Iterator[FileResponse]:
        """Ask for the bytes of `url`: for the rest where some of them are here, if it is of the file that was begun.

        What does not agree with what was begun is not taken: the whole file is asked for then. `FileResponse.is_as_begun` says
        whether the server still has that version.
        `headers` go to the host of `url` only. `size` is how many bytes the file has to have.
        Raises what `check` raises, `IncompleteError` for what may pass, `FetchError` for what will not.
        """
        from model_provisioner.fetchers.http.connections import release
        from model_provisioner.fetchers.http.response import FileResponse

        first, headers = Url.parse(url), headers or {}
        ways = [] if begun is None else [*begun.ways]
        answer = None
        response, last = self._follow(first, headers, ways[0].conditions if ways else {})
        try:
            while ways and answer is None and response.status in {200, 206, 304, 416}:
                asked = ways.pop(0)
                with suppress(FetchError):
                    answer = None if response.status == 416 else FileResponse(response, last, begun=asked, size=size)
                if answer is None:
                    release(response)
                    response, last = self._follow(first, headers, ways[0].conditions if ways else {})
            if answer is None:
                if response.status != 200:
                    raise self._status_error(response, last, headers if last.origin == first.origin else None)
                answer = FileResponse(response, last, size=size)
            yield answer
        finally:
            release(response)

    def ask(
        self,
        url: str,
        *,
        limit: int,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
        as_nobody: bool = False,
    ) -> Answer:
        """Send one request and return the answer as a whole, of at most `limit` bytes.

        `headers` go to the host of `url` only. A `body` that is a file needs a `content-length` among them.
        `as_nobody` is for a URL that another host named, as for one that it redirects to: no credentials are looked up for it.
        Raises what `check` raises, `IncompleteError` for what may pass, `FetchError` for an answer without an end.
        """
        from model_provisioner.fetchers.http.connections import HTTPError, release
        from model_provisioner.fetchers.http.failures import network_error

        response, last = self._follow(Url.parse(url), headers or {}, {}, method, body, as_nobody=as_nobody)
        data, end = bytearray(), monotonic() + ANSWER_SECONDS
        try:
            while method != "HEAD" and (piece := response.read1(1 << 16)):
                data += piece
                if len(data) > limit or monotonic() > end:
                    raise FetchError(
                        f"{last.host} answers without an end",
                        status=response.status,
                        where=str(last),
                        expected=f"at most {limit:,} bytes, within {ANSWER_SECONDS:.0f} s",
                        found="more" if len(data) > limit else "next to nothing",
                        fix="check that the reference names the host that was meant",
                    )
        except HTTPError as error:
            raise network_error(last, error) from None
        finally:
            release(response)
        return Answer(status=response.status, headers=response.headers, body=bytes(data), url=last)

    def _follow(
        self,
        first: Url,
        headers: Mapping[str, str],
        part: Mapping[str, str],
        method: str = "GET",
        body: bytes | IO[bytes] | None = None,
        *,
        as_nobody: bool = False,
    ) -> tuple[BaseHTTPResponse, Url]:
        """Ask for `first` and go where redirects lead; return the response that is no redirect, and its URL."""
        from model_provisioner.fetchers.http.connections import release

        url, came_from = first, ""
        own = {name.lower(): value for name, value in headers.items()}
        for _ in range(MAX_REDIRECTS + 1):
            self._check_url(url, first, came_from)
            sent = {"user-agent": "model-provisioner", "accept": "*/*"}
            if "authorization" not in own:
                redirected = as_nobody or bool(came_from)
                sent |= {k.lower(): v for k, v in self._credentials.for_url(url, redirected=redirected).items()}
            sent = {**sent, **own, **part, "accept-encoding": "identity"}
            response = self.connections.get(url, sent, method=method, body=body)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location or method not in _ASKING:
                return response, url
            release(response)
            target = url.joined(location)
            if target.origin != url.origin:
                # They stay away: a host in between must not bring them back with another path. What is accepted is no secret.
                own = {name: value for name, value in own.items() if name == "accept"}
                came_from = url.host
            url = target
        raise FetchError(
            f"{first.host} redirects without end",
            where=str(first),
            expected=f"at most {MAX_REDIRECTS} redirects",
            found="more",
            fix="copy the link of the file from its page",
        )

    def _check_url(self, url: Url, first: Url, came_from: str) -> None:
        """Raise unless `url` may be contacted."""
        try:
            self._check(url.host)
        except NotAllowedError as error:
            if came_from:
                error.found += f"; {came_from} redirects to {url.host}"
            raise
        check_scheme(url, asked=first.scheme, sender=came_from or url.host)

    def _status_error(self, response: BaseHTTPResponse, url: Url, headers: Mapping[str, str] | None) -> FetchError:
        """Word a status that brings no bytes; `headers` are None where a redirect led away from who they were for."""
        status, host = response.status, url.host
        known = any(name.lower() == "authorization" for name in headers or ()) or bool(
            self._credentials.for_url(url, redirected=headers is None)
        )
        led = headers is None
        netrc = self._credentials.path + (f" ({self._credentials.fault})" if self._credentials.fault else "")
        if status in {401, 403} and led:
            what = f"{host} does not let us have the file"
            fix = f"name its URL at {host} itself: where a redirect leads, no credentials are sent"
        elif status == 401:
            what = f"{host} does not take our credentials" if known else f"{host} wants credentials"
            fix = f"correct the credentials for {host}" if known else f"give credentials for {host} in {netrc}"
        elif status == 403:
            what = f"{host} does not let us have the file"
            fix = f"ask its owner for access; credentials are read from {netrc}"
        elif status in {404, 410}:
            what, fix = (
                f"{host} has no such file",
                "copy the link of the file from its page, or ask who runs the server for it",
            )
        elif status == 412:
            what, fix = f"{host} has another version of the file by now", "run again, which takes the new one"
        elif status in TRANSIENT:
            what, fix = f"{host} can't serve the file now", "try again later"
        else:
            what, fix = f"{host} does not serve the file", "download the model and point model_ref at the file"
        kind = IncompleteError if status in TRANSIENT else FetchError
        code, found = _code_of(response), status_text(status)
        error = kind(what, status=status, code=code, where=str(url), expected="the file", found=found, fix=fix)
        if isinstance(error, IncompleteError):
            error.wait = wait_asked_by(response.headers)
        return error


def _code_of(response: BaseHTTPResponse) -> str:
    """Return the server's own word for why it sends no bytes: that of a Hub, else that of an S3 storage; empty for none."""
    from model_provisioner.fetchers.http.connections import HTTPError

    if (code := response.headers.get("X-Error-Code", "")) or "xml" not in response.headers.get("Content-Type", ""):
        return code
    with suppress(HTTPError):
        if found := _XML_CODE.search(response.read1(1 << 14)):  # what has come by now: the rest could take long
            return found[1].decode()
    return ""


def status_text(status: int) -> str:
    """Return a status with its phrase: `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
