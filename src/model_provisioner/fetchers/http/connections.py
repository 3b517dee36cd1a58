"""Connections to hosts: kept open between requests, certificates checked, through the proxy of the environment.

It is imported where something is fetched: urllib3 costs as much as a whole no-op.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from socket import SHUT_RDWR, socket
from threading import Lock
from time import monotonic
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

import urllib3
from urllib3.exceptions import HTTPError

from model_provisioner.fetchers.http.environment import Environment
from model_provisioner.fetchers.http.failures import EndlessError, connection_error
from model_provisioner.fetchers.patience import SOURCE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse

    from model_provisioner.fetchers.http.environment import Proxy
    from model_provisioner.fetchers.http.url import Url
    from model_provisioner.fetchers.patience import Terms

__all__ = ["Connections", "HTTPError", "release"]

_DRAINED = 64 << 10
"""Bytes of a body that nobody wants, up to which it costs less to read it than to connect again."""

CONNECT = 10.0
"""Seconds that a connection may take."""
STALL = 30.0
"""Seconds for which no byte may come."""
TAKEN = 600.0
"""Seconds for which no byte may come after a file was sent: a storage puts it in its place before it answers."""
HEAD_SECONDS = 60.0
"""Seconds that the head of a response may take from its first byte on, with all that comes before it."""
HEAD_BYTES = 256 << 10
"""Bytes of lines that may come between two pieces of a body."""
_KEPT = 16
"""Connections to one host that are kept open."""
_SENT = 256 << 10
"""Bytes of a body that are sent at a time."""


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
        while len(line) < limit and not line.endswith(b"\n"):
            if self._end is not None and monotonic() > self._end:
                raise EndlessError(f"no response within {HEAD_SECONDS:.0f} s")
            if not (there := self._stream.peek(1)):  # waits for one packet at most
                break
            if self._end is None:
                self._end = monotonic() + HEAD_SECONDS
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
    def __init__(self, made: _Made, sock: Any, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp: Any = _Stream(self.fp)
        self.sock = sock
        """Also when no connection has it any more, because no second request will use it."""
        made.note(self)


class _Made:
    """The connections and responses that were made, as long as anybody has them; threads may share one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._all: WeakSet[Any] = WeakSet()

    def note(self, made: Any) -> None:
        """Note a connection or response that was just made."""
        with self._lock:
            self._all.add(made)

    def shut(self) -> None:
        """Let every thread that sends or waits for bytes be told that there are none."""
        with self._lock:
            found = [made.sock for made in self._all]
        for sock in found:
            if sock is not None:
                _shut(sock)


def _shut(sock: Any) -> None:
    """Let a thread that sends to a socket, or waits for its bytes, be told that there are none."""
    below = getattr(sock, "socket", sock)  # of TLS in the TLS of a proxy
    with suppress(OSError):  # the other end was faster
        # Not TLS's own method: after it, a thread would send plain text, and take what comes encrypted for the file.
        socket.shutdown(below, SHUT_RDWR)


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, made: _Made, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._made = made

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.response_class = partial(_Response, self._made)
        self._made.note(connection)
        return connection


class _SecurePool(_Pool, urllib3.HTTPSConnectionPool):
    """The same for https:."""


class Connections:
    """Opens connections and keeps them for the next request to the same host; threads may share one.

    They go the way that the environment tells, as it is when this is made.
    """

    def __init__(self, terms: Terms = SOURCE) -> None:
        self._timeout = urllib3.Timeout(connect=min(CONNECT, terms.connect), read=min(STALL, terms.stall))
        self._timeout_of_files = urllib3.Timeout(connect=self._timeout.connect_timeout, read=TAKEN)
        self._environment = Environment.read()
        self._made = _Made()
        self._plain = self._bounded(urllib3.PoolManager(maxsize=_KEPT, blocksize=_SENT))
        """For http:, which is for this machine only: it needs no proxy, and no certificates, which take long to read."""
        self._managers: dict[Proxy | None, urllib3.PoolManager] = {}
        """For https:, by the proxy."""
        self._lock = Lock()
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close all connections. A thread that waits for bytes of one is told that there are none."""
        self._made.shut()
        for manager in (self._plain, *self._managers.values()):
            for key in manager.pools.keys():  # noqa: SIM118  urllib3 lets nobody iterate over it, as threads share it
                if (pool := manager.pools.get(key)) is not None:
                    pool.close()  # `clear` alone leaves its connections open as long as an error's traceback has it
            manager.clear()

    def get(
        self, url: Url, headers: Mapping[str, str], *, method: str = "GET", body: bytes | IO[bytes] | None = None
    ) -> BaseHTTPResponse:
        """Ask for `url` and return the response, whatever its status, its body unread.

        Host and target are handed over apart, so that no second reading of the URL can find another host in it.
        Raises `FetchError`, or `SettingError` where the environment names a proxy or certificates that can't be used.
        """
        sends_file = not isinstance(body, bytes | None)
        proxy = self._environment.proxy_for(url)
        manager = self._plain if url.scheme == "http" else self._manager(proxy)
        pool = manager.connection_from_host(url.host, url.port, url.scheme)
        try:
            return pool.urlopen(
                method,
                url.target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout_of_files if sends_file else self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as error:
            raise connection_error(url, error, proxy, self._environment.trust) from None

    def _manager(self, proxy: Proxy | None) -> urllib3.PoolManager:
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._make_manager(proxy)
            return self._managers[proxy]

    def _make_manager(self, proxy: Proxy | None) -> urllib3.PoolManager:
        if self._context is None:
            self._context = self._environment.trust.context()
        if proxy is None:
            return self._bounded(urllib3.PoolManager(ssl_context=self._context, maxsize=_KEPT, blocksize=_SENT))
        return self._bounded(
            urllib3.ProxyManager(
                proxy.url.origin,
                proxy_headers=proxy.headers,
                proxy_ssl_context=self._context,
                ssl_context=self._context,
                maxsize=_KEPT,
                blocksize=_SENT,
            )
        )

    def _bounded(self, manager: urllib3.PoolManager) -> urllib3.PoolManager:
        """Let a manager make connections that are noted, and whose lines are bounded."""
        pools: Any = {"http": partial(_Pool, self._made), "https": partial(_SecurePool, self._made)}
        manager.pool_classes_by_scheme = pools
        return manager


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


class _WithoutQueries(logging.Filter):
    """Takes queries, which may be signed, out of what urllib3 logs of each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())
