"""The requests of huggingface_hub's client: each is held to the policy, and its response to bounds.

Imported where a Hub is asked: httpx2 takes long to import.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx2

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http.connections import STALL, Connections, HTTPError, release
from model_provisioner.fetchers.http.failures import network_error
from model_provisioner.fetchers.http.url import Url, check_scheme
from model_provisioner.fetchers.listing import SECONDS
from model_provisioner.fetchers.patience import TRANSIENT, Patience, too_long, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3 import BaseHTTPResponse

REQUESTS = 300
"""Requests of one question: its pages, redirects and second tries."""
_LARGEST = 8 << 20
"""Bytes that one response may have; none is sent packed."""


@dataclass(frozen=True)
class Question:
    """What the requests of one question are held to: the client of huggingface_hub is shared by the whole process."""

    check: Callable[[str], None]
    """Is given each host before it is contacted, and raises where it may not be."""
    hub: Url
    """The Hub: who the user's token is for."""
    wait: Callable[[float, str], object]
    """Waits some seconds where the Hub is busy, and tells why."""
    asked: Iterator[int] = field(default_factory=lambda: count(1), repr=False)
    """The numbers of its requests."""
    connections: Connections = field(default_factory=Connections, repr=False)
    """The way to the Hub, which is that to every other host."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the requests of the block to it."""
        _hold()
        token = _question.set(self)
        try:
            yield
        finally:
            _question.reset(token)

    def too_much(self, expected: str, found: str) -> FetchError:
        """Return the error for a Hub that goes past a limit."""
        return FetchError(
            f"{self.hub.host} answers with more than a listing can be",
            where=self.hub.origin,
            expected=expected,
            found=found,
            fix="check HF_ENDPOINT; or download the model and point model_ref at the file",
        )


class GivenUpError(Exception):
    """A question that met trouble which may pass, and did not."""

    def __init__(self, status: int | None, found: str, tried: int) -> None:
        super().__init__(found)
        self.status, self.found, self.tried = status, found, tried
        """The status of the last answer, None where there was none; what it was, in words; how often was asked."""


_question: ContextVar[Question | None] = ContextVar("_question", default=None)
_holding = threading.Lock()


def _hold() -> None:
    """Let every request of huggingface_hub's client, each hop of a redirect too, meet our hooks first.

    It makes its client anew after some errors and asks the same question again, so the hooks are put into what makes it.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    with _holding:
        make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
        if isinstance(make, _Held):
            return
        set_client_factory(_Held(make, chosen=make is not _http.default_client_factory))
        logging.getLogger(_http.__name__).addFilter(_is_not_ours)


@dataclass(frozen=True)
class _Held:
    """Makes clients whose requests meet our hooks."""

    make: Callable[[], httpx2.Client]
    """What made them before."""
    chosen: bool
    """Whether the program that we are a part of chose it: then its proxy and its certificates count, and not ours."""

    def __call__(self) -> httpx2.Client:
        client = self.make() if self.chosen else _Client(self.make)
        hooks = client.event_hooks
        client.event_hooks = {"request": [_before, *hooks["request"]], "response": [_after, *hooks["response"]]}
        client.send = partial(_send, client.send)  # type: ignore[method-assign]  # what the program chose is no class of ours
        return client


def _send(send: Callable[..., httpx2.Response], request: httpx2.Request, **named: Any) -> httpx2.Response:
    """Send a request, again after trouble that may pass: huggingface_hub does that for some questions only.

    Raises `GivenUpError`, after which it does not try again.
    """
    if (question := _question.get()) is None:
        return send(request, **named)
    patience, host = Patience(question.wait), question.hub.host
    while True:
        try:
            response = send(request, **named)
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            cause = error.__cause__
            why = cause.what if isinstance(cause, FetchError) else f"{host} can't be reached ({type(error).__name__})"
            if untrusted or not patience.allows(None, why):
                raise GivenUpError(None, type(error).__name__, patience.tried) from cause
            continue
        if response.status_code not in TRANSIENT:
            return response
        wait, said = wait_asked_by(response.headers), f"{response.status_code} {response.reason_phrase}"
        response.close()
        if not patience.allows(wait, f"{host} answers with {said}"):
            raise GivenUpError(response.status_code, said + too_long(wait), patience.tried)


class _Client(httpx2.Client):
    """Sends the requests of our questions by our own connections, and those of others as if we were not there."""

    def __init__(self, make: Callable[[], httpx2.Client]) -> None:
        super().__init__(transport=_Transport(), follow_redirects=True, timeout=None, trust_env=False)
        self._make, self._made = make, threading.Lock()
        self._theirs: httpx2.Client | None = None

    def build_request(self, *args: Any, **named: Any) -> httpx2.Request:
        """Make a request, as the client does that will send it."""
        if _question.get() is None:
            return self._others().build_request(*args, **named)
        return super().build_request(*args, **named)

    def send(self, *args: Any, **named: Any) -> httpx2.Response:
        """Send a request, or let that be done."""
        if _question.get() is None:
            return self._others().send(*args, **named)
        return super().send(*args, **named)

    def close(self) -> None:
        """Close both ways."""
        super().close()
        if self._theirs is not None:
            self._theirs.close()

    def _others(self) -> httpx2.Client:
        with self._made:
            if self._theirs is None:
                self._theirs = self._make()
            return self._theirs


class _Transport(httpx2.BaseTransport):
    """Sends requests by the connections of the question that they belong to.

    What may pass is raised as huggingface_hub knows it, so that it asks again; what will not pass is raised as it is.
    """

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        question = _question.get()
        assert question is not None  # `_Client` sends it no other
        url = Url.parse(
            f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{request.url.raw_path.decode('ascii')}"
        )
        headers = {name: value for name, value in request.headers.items() if name not in {"host", "connection"}}
        body = request.read() or None
        try:
            response = question.connections.get(url, headers, method=request.method, body=body)
        except IncompleteError as error:
            raise httpx2.ConnectError(error.what) from error
        return httpx2.Response(response.status, headers=list(response.headers.items()), stream=_Body(response, url))


class _Body(httpx2.SyncByteStream):
    """The body of a response, as it comes."""

    def __init__(self, response: BaseHTTPResponse, url: Url) -> None:
        self._response, self._url = response, url

    def __iter__(self) -> Iterator[bytes]:
        try:
            while piece := self._response.read1(1 << 16):
                yield piece
        except HTTPError as error:
            failure = network_error(self._url, error)
            raise httpx2.ReadError(failure.what) from failure

    def close(self) -> None:
        release(self._response)


def _before(request: httpx2.Request) -> None:
    """Raise if a request of ours may not be made; take the token out of one that is not for the Hub; bound it in time."""
    if (question := _question.get()) is None:
        return
    if next(question.asked) > REQUESTS:
        raise question.too_much(f"at most {REQUESTS} requests, pages and second tries among them", "more")
    hub, url = question.hub, request.url
    question.check(url.host)
    place = Url.parse(f"{url.scheme}://{url.netloc.decode('ascii')}")
    check_scheme(place, asked=hub.scheme, sender=hub.host)
    if place.origin != hub.origin:  # the next page of a list may be said to be anywhere
        request.headers.pop("authorization", None)
    request.headers["accept-encoding"] = "identity"
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), STALL)


def _after(response: httpx2.Response) -> None:
    """Bound the body of a response."""
    if (question := _question.get()) is None:
        return
    if encoding := response.headers.get("content-encoding", "").strip().lower().replace("identity", ""):
        raise question.too_much("the bytes as they are", f"Content-Encoding: {encoding[:80]}")
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = _Bounded(response.stream, question)


class _Bounded(httpx2.SyncByteStream):
    """A body that ends with an error where it goes past a limit."""

    def __init__(self, stream: httpx2.SyncByteStream, question: Question) -> None:
        self._stream, self._question = stream, question

    def __iter__(self) -> Iterator[bytes]:
        size, end = 0, monotonic() + SECONDS
        for piece in self._stream:
            size += len(piece)
            if size > _LARGEST:
                raise self._question.too_much(f"at most {_LARGEST:,} bytes in one response", "more")
            if monotonic() > end:
                raise self._question.too_much(f"a response within {SECONDS:.0f} s", f"{size:,} bytes, and no end")
            yield piece

    def close(self) -> None:
        self._stream.close()


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Tell whether a line of huggingface_hub's log is about somebody else's question: its lines hold whole URLs."""
    return _question.get() is None
