"""A server of files on loopback that behaves as badly as it is told to, and remembers what it was asked."""

import hashlib
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict
    """Names in lower case."""


@dataclass
class Manners:
    """How the server behaves; all can be changed while it runs."""

    drop_at: int | None = None  # the connection breaks before this byte of the file is sent …
    drop_times: int = 1 << 30  # … this often
    reset: bool = False  # it breaks by a reset, not by an orderly end
    ignore_range: bool = False
    ignore_if_range: bool = False
    ignore_conditions: bool = False  # If-None-Match and If-Modified-Since
    etag_of_304: str | None = None  # in place of the one that it has
    etag: str | None = "auto"  # "auto" is of the bytes
    etags: deque = field(default_factory=deque)  # one a request, before `etag`
    last_modified: float | None = None
    length_lie: int = 0  # is added to Content-Length
    no_length: bool = False
    chunked: bool = False
    extra: bytes = b""  # follows the body
    content_range: str | None = None
    content_encoding: str | None = None
    stall_at: int | None = None  # nothing more comes from this byte on, until the server is closed …
    stall_times: int = 1 << 30  # … this often
    trickle: float | None = None  # seconds between single bytes
    part_as_200: bool = False  # the status of a range is 200 …
    tell_part: bool = True  # … with or without Content-Range
    tell_whole: bool = False  # a whole file has `content_range`, too
    part: int | None = None  # at most so many bytes are sent for a range
    statuses: deque = field(default_factory=deque)  # (status, headers), one a request, before all else
    redirects: dict = field(default_factory=dict)  # path without query: (status, Location)
    users: dict = field(default_factory=dict)  # path: the Authorization it wants


class FilesServer:
    """`files` by path ("/x.gguf"). With an ssl.SSLContext it speaks https."""

    def __init__(self, files, *, context: ssl.SSLContext | None = None, host="127.0.0.1"):
        self.files, self.manners = dict(files), Manners()
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of files."""
        self.before_each = lambda: None
        """Called when a request has come: it may change files and manners."""
        self.closing = threading.Event()
        self._server = _Server((host, 0), type("Bound", (_Handler,), {"owner": self}), context)
        self.port = self._server.server_address[1]
        self.scheme = "https" if context else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, path: str, host: str = "localhost") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def etag(self, path: str) -> str:
        """Return the ETag of a file, where manners do not say another."""
        return etag_of(self.files[path])

    @property
    def connections(self) -> int:
        return self._server.connections

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def is_as_it_was(headers, etag, last_modified):
    """Tell whether a server answers 304, by RFC 9110: If-None-Match goes before If-Modified-Since, which asks for newer ones."""
    if "if-none-match" in headers:
        return headers["if-none-match"] == etag
    since = headers.get("if-modified-since")
    return None not in (since, last_modified) and int(last_modified) <= parsedate_to_datetime(since).timestamp()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    address_family = socket.AF_INET

    def __init__(self, address, handler, context):
        self.context, self.connections = context, 0
        super().__init__(address, handler)

    def server_bind(self):
        self.socket.bind(self.server_address)  # the parent's looks its own name up, which may take seconds
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def finish_request(self, request, client_address):
        self.connections += 1
        with suppress(OSError):  # a client that left, or does not trust us
            if self.context:
                request = self.context.wrap_socket(request, server_side=True)
            try:
                super().finish_request(request, client_address)
            finally:
                request.close()

    def handle_error(self, request, client_address):
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    owner: FilesServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.owner.before_each()
        manners = self.owner.manners
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.asked.append(Asked(self.command, self.path, headers))
        path = self.path.partition("?")[0]
        if manners.statuses:
            status, more = manners.statuses.popleft()
            return self.short(status, more)
        if path in manners.redirects:
            status, location = manners.redirects[path]
            return self.short(status, {"Location": location})
        if path in manners.users and headers.get("authorization") != manners.users[path]:
            return self.short(401, {"WWW-Authenticate": "Basic"})
        if path not in self.owner.files:
            return self.short(404, {})
        return self.file(self.owner.files[path], headers)

    do_HEAD = do_POST = do_GET

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def short(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"what")
        self.wfile.flush()

    def file(self, data, headers):
        manners = self.owner.manners
        etag = manners.etags.popleft() if manners.etags else manners.etag
        if etag == "auto":
            etag = etag_of(data)
        changed = None if manners.last_modified is None else formatdate(manners.last_modified, usegmt=True)
        if not manners.ignore_conditions and is_as_it_was(headers, etag, manners.last_modified):
            self.send_response(304)
            if etag:
                self.send_header("ETag", manners.etag_of_304 or etag)
            self.end_headers()
            return
        first, last = 0, len(data)
        wanted = headers.get("range", "")
        same = manners.ignore_if_range or headers.get("if-range") in {None, etag, changed}
        if wanted and same and not manners.ignore_range:
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            if first >= len(data):
                return self.short(416, {"Content-Range": f"bytes */{len(data)}"})
            last = min(last, first + (manners.part or last))
            self.send_response(200 if manners.part_as_200 else 206)
            if manners.tell_part:
                self.send_header("Content-Range", manners.content_range or f"bytes {first}-{last - 1}/{len(data)}")
        else:
            self.send_response(200)
            if manners.tell_whole:
                self.send_header("Content-Range", manners.content_range)
        if etag:
            self.send_header("ETag", etag)
        if changed:
            self.send_header("Last-Modified", changed)
        if manners.content_encoding:
            self.send_header("Content-Encoding", manners.content_encoding)
        if manners.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif manners.no_length:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(last - first + manners.length_lie))
        if manners.length_lie > 0:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.body(data, first, last)

    def body(self, data, first, last):
        manners = self.owner.manners
        stop = last
        for name in ("drop", "stall"):
            at, times = getattr(manners, f"{name}_at"), getattr(manners, f"{name}_times")
            if at is not None and times and first <= at < stop:
                stop = at
                setattr(manners, f"{name}_times", times - 1)
                what = name
        step = 1 if manners.trickle else 1 << 16
        for at in range(first, stop, step):
            self.send(data[at : min(at + step, stop)])
            if manners.trickle:
                self.wfile.flush()
                time.sleep(manners.trickle)
        self.wfile.flush()
        if stop == last:
            self.send(manners.extra)
            if manners.chunked:
                self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
            return
        self.close_connection = True
        if what == "stall":
            self.owner.closing.wait(60)
        if manners.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def send(self, piece):
        self.owner.sent += len(piece)
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.owner.manners.chunked else piece)
