"""A server that speaks raw bytes: answers without an end, and how much of them a client took."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress


class Endless:
    """Answers each request with what `answer` returns for its URL, in pieces, as long as the client takes them."""

    def __init__(self, answer: Callable[[str], Iterable[bytes]], *, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.context = answer, context
        self.sent = 0
        """Bytes that clients took, or that lie in buffers of the kernel: a few hundred KB."""
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"owner": self}))
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave."""


class _Handler(socketserver.BaseRequestHandler):
    owner: Endless

    def handle(self) -> None:
        connection = self.request
        if self.owner.context:
            connection = self.owner.context.wrap_socket(connection, server_side=True)
        with suppress(OSError), connection:
            while request := self._request(connection):
                path = request.split(b" ")[1].decode()
                self.owner.asked.append(path)
                for piece in self.owner.answer(self.owner.url + path):
                    connection.sendall(piece)
                    self.owner.sent += len(piece)

    def _request(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(1 << 16)):
                return b""
            data += more
        return data


def answered(body: bytes, *headers: str, status: str = "200 OK") -> list[bytes]:
    """Return a whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return ["\r\n".join(lines).encode() + body]


def begun(*headers: str, status: str = "200 OK") -> bytes:
    """Return the head of an answer whose body follows."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()
