"""Connections to hosts: kept open between requests, certificates checked, through the proxy of the environment.

The one module that imports urllib3. It is imported where something is fetched, for it costs as much as a whole no-op.
"""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from model_provisioner.errors import FetchError, IncompleteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse

    from model_provisioner.fetchers.http.url import Url

__all__ = ["Connections", "HTTPError", "bad_proxy", "network_error", "release"]

_DRAINED = 64 << 10
"""Bytes of a body that nobody wants, up to which it costs less to read it than to connect again."""

CONNECT = 10.0
"""Seconds that a connection may take."""
STALL = 30.0
"""Seconds for which no byte may come."""
HEAD_SECONDS = 60.0
"""Seconds that the head of a response may take, with all that comes before it."""
HEAD_BYTES = 256 << 10
"""Bytes of lines that may come between two pieces of a body."""
_KEPT = 16
"""Connections to one host that are kept open."""


class EndlessError(HTTPException):
    """Lines without an end, where a response should begin, go on or end."""


class _Stream:
    """What comes from a server, as `http.client` reads it; the lines between bytes of a body are bounded, all together.

    Lines are the head of a response, the responses before it that announce it, the sizes of chunks, and what follows them.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._bytes = 0
        """Of the lines since the last piece of a body."""
        self._end: float | None = None
        """When they have to be here, by the clock; None before the first."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def readline(self, limit: int = HEAD_BYTES + 1) -> bytes:
        """Return the next line, or `limit` bytes of it. Raises `EndlessError`."""
        line = b""
        if self._end is None:
            self._end = monotonic() + HEAD_SECONDS
        while len(line) < limit and not line.endswith(b"\n"):
            if monotonic() > self._end:
                raise EndlessError(f"no response within {HEAD_SECONDS:.0f} s")
            if not (there := self._stream.peek(1)):  # waits for one packet at most
                break
            line += self._stream.read(
                (there.find(b"\n", 0, limit - len(line)) + 1) or min(len(there), limit - len(line))
            )
        self._bytes += len(line)
        if self._bytes > HEAD_BYTES:
            raise EndlessError(f"more than {HEAD_BYTES:,} bytes of headers")
        return line

    def read(self, size: int) -> bytes:
        """Return bytes of the body, or what ends a chunk."""
        data: bytes = self._stream.read(size)
        if len(data) > len(b"\r\n"):
            self._bytes, self._end = 0, None
        return data

    def read1(self, size: int) -> bytes:
        """Return bytes of the body, as many as are here."""
        self._bytes, self._end = 0, None
        data: bytes = self._stream.read1(size)
        return data


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp: Any = _Stream(self.fp)


class _PlainConnection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _bounded(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Let a manager make connections whose lines are bounded."""
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return manager


class Connections:
    """Opens connections and keeps them for the next request to the same host; threads may share one."""

    def __init__(self) -> None:
        self._timeout = urllib3.Timeout(connect=CONNECT, read=STALL)
        self._plain = _bounded(urllib3.PoolManager(maxsize=_KEPT))
        """For http:, which is for this machine only: it needs no proxy, and no certificates, which take long to read."""
        self._managers: dict[str, urllib3.PoolManager] = {}
        """For https:, by the URL of the proxy; "" for none."""
        self._lock = Lock()
        self._context: ssl.SSLContext | None = None
        self._open: WeakSet[BaseHTTPResponse] = WeakSet()

    def close(self) -> None:
        """Close all connections. A thread that waits for bytes of one is told that there are none."""
        with self._lock:
            left = list(self._open)
        for response in left:
            with suppress(HTTPError, OSError, ValueError, RuntimeError):  # it may be done with by now
                response.shutdown()
        for manager in (self._plain, *self._managers.values()):
            manager.clear()

    def get(self, url: Url, headers: Mapping[str, str], *, method: str = "GET") -> BaseHTTPResponse:
        """Ask for `url` and return the response, whatever its status, its body unread. Raises `FetchError`.

        Host and target are handed over apart, so that no second reading of the URL can find another host in it.
        """
        manager = self._plain if url.scheme == "http" else self._manager(_proxy_for(url))
        pool = manager.connection_from_host(url.host, url.port, url.scheme)
        try:
            response = pool.urlopen(
                method,
                url.target,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as error:
            raise network_error(url, error) from None
        with self._lock:
            self._open.add(response)
        return response

    def _manager(self, proxy: str) -> urllib3.PoolManager:
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._make_manager(proxy)
            return self._managers[proxy]

    def _make_manager(self, proxy: str) -> urllib3.PoolManager:
        if self._context is None:
            self._context = _context()
        if not proxy:
            return _bounded(urllib3.PoolManager(ssl_context=self._context, maxsize=_KEPT))
        try:
            parts = urlsplit(proxy)
            user, _, host = parts.netloc.rpartition("@")
            place = parts._replace(netloc=host).geturl()
            headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else {}
            return _bounded(
                urllib3.ProxyManager(
                    place,
                    proxy_headers=headers,
                    proxy_ssl_context=self._context,
                    ssl_context=self._context,
                    maxsize=_KEPT,
                )
            )
        except (ValueError, HTTPError):
            raise bad_proxy() from None


def release(response: BaseHTTPResponse) -> None:
    """Release a response; its connection is kept where all of it was read.

    Of a body that nobody wants, as redirects have one, what has come already is read: a second look could take as long as
    the server likes.
    """
    with suppress(HTTPError):
        if response.status not in {200, 206} and (response.length_remaining or 0) <= _DRAINED:
            response.read1(_DRAINED)
        if response.length_remaining == 0:
            response.read1(1)  # which finds the end
    if response.closed:
        response.release_conn()
    else:
        response.close()


def bad_proxy() -> FetchError:
    """Return the error for a proxy of the environment that is no sound URL, which is not shown: it may hold a password."""
    return FetchError(
        "the proxy of the environment can't be used",
        expected="http://HOST:PORT or https://HOST:PORT",
        fix="set HTTPS_PROXY to a proxy of this kind, or name the host in NO_PROXY",
    )


def network_error(url: Url, error: HTTPError) -> FetchError:
    """Word why there is no response, or no more of it; an `IncompleteError` where another try may help.

    The texts of urllib3 are not used: they hold the whole URL.
    """
    host = url.host
    if isinstance(error, ProxyError):
        reason = str(error.original_error)
        if "Tunnel connection failed: 4" in reason:  # the words of http.client; 407 wants credentials, 403 forbids
            return FetchError(
                f"the proxy does not let {host} be reached",
                where=str(url),
                found=reason.partition(": ")[2],
                fix="check HTTPS_PROXY, and NO_PROXY if the host is to be reached without it",
            )
        return _transient(url, f"the proxy could not be reached for {host}")
    if isinstance(error, SSLError):
        cause = error.args[0] if error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FetchError(
                f"the certificate of {host} can't be trusted",
                where=str(url),
                expected="a certificate for this host by an authority that this machine trusts",
                found=cause.verify_message,
                fix="if your network has an authority of its own, name its certificates in SSL_CERT_FILE",
            )
        return _transient(url, f"no secure connection to {host} could be made or kept")
    if isinstance(error, NameResolutionError):
        return _transient(url, f"the name {host} was not found")
    if isinstance(error, NewConnectionError):
        cause = error.__cause__
        return _transient(url, f"{host} could not be reached", getattr(cause, "strerror", None) or "")
    if isinstance(error, ConnectTimeoutError):
        return _transient(url, f"{host} did not answer in time")
    if isinstance(error, ReadTimeoutError):
        return _transient(url, f"{host} sent nothing for too long")
    cause = error.args[-1] if isinstance(error, ProtocolError) else None
    if isinstance(cause, EndlessError):
        return _transient(url, f"{host} sends headers without an end", str(cause))
    return _transient(url, f"{host} broke the connection off")


def _transient(url: Url, what: str, found: str = "") -> IncompleteError:
    return IncompleteError(what, where=str(url), found=found, fix="check the network, and try again")


def _proxy_for(url: Url) -> str:
    """Return the URL of the proxy that the environment names for `url`, "" for none."""
    proxies = getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all") or ""
    if not proxy or proxy_bypass_environment(f"{url.host}:{url.port}", proxies):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _context() -> ssl.SSLContext:
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
    file = next((os.environ[name] for name in names if os.environ.get(name)), None)
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise FetchError(
            "the certificates that are to be trusted can't be read",
            where=file or "",
            found=error.strerror or str(error),
            fix="let SSL_CERT_FILE name a file of certificates, or take it out of the environment",
        ) from None


class _WithoutQueries(logging.Filter):
    """Takes queries, which may be signed, out of what urllib3 logs of each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())
