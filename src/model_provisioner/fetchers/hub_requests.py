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

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.http.connections import bad_proxy
from model_provisioner.fetchers.http.url import Url, check_scheme
from model_provisioner.fetchers.listing import SECONDS
from model_provisioner.fetchers.patience import TRANSIENT, Patience, too_long, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT = 30.0
"""Seconds without a byte after which a question is given up."""
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

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the requests of the block to it. Raises `FetchError` where the environment names a proxy that is none."""
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
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http

    with _holding:
        try:
            session = get_session()
        except (ValueError, httpx2.InvalidURL):  # it takes the proxies of the environment, and shows them in its error
            raise bad_proxy() from None
        if _before in session.event_hooks["request"]:
            return
        make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)  # of the user's, perhaps

        def held() -> httpx2.Client:
            client = make()
            hooks = client.event_hooks
            client.event_hooks = {"request": [_before, *hooks["request"]], "response": [_after, *hooks["response"]]}
            client.send = partial(_send, client.send)  # type: ignore[method-assign]
            return client

        set_client_factory(held)
        logging.getLogger(_http.__name__).addFilter(_is_not_ours)


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
            if untrusted or not patience.allows(None, f"{host} can't be reached ({type(error).__name__})"):
                raise GivenUpError(None, type(error).__name__, patience.tried) from None
            continue
        if response.status_code not in TRANSIENT:
            return response
        wait, said = wait_asked_by(response.headers), f"{response.status_code} {response.reason_phrase}"
        response.close()
        if not patience.allows(wait, f"{host} answers with {said}"):
            raise GivenUpError(response.status_code, said + too_long(wait), patience.tried)


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
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT)


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
