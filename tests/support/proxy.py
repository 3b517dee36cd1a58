"""A proxy on loopback that passes bytes on, and remembers what it was asked."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import suppress


class Proxy:
    """Takes CONNECT alone. With `user` ("NAME:PASSWORD") it wants these credentials; with a context it speaks TLS.

    `answer` is what it says instead of connecting, if anything: b"403 Forbidden".
    """

    def __init__(self, *, user: str | None = None, context: ssl.SSLContext | None = None, answer: bytes = b"") -> None:
        self.heads: list[str] = []
        """The heads of the requests that came."""
        self._user, self._context, self._answer = user, context, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, user: str = "") -> str:
        return f"{'https' if self._context else 'http'}://{user and f'{user}@'}127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:  # who left, or does not trust us
            with self._context.wrap_socket(client, server_side=True) if self._context else client as stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (data := stream.recv(4096)):
                        return
                    head += data
                    if not head.startswith(b"CONNECT "[: len(head)]):
                        stream.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                        return
                self.heads.append(head.decode())
                if refusal := self._answer or self._refusal(head):
                    stream.sendall(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % refusal)
                    return
                host, _, port = head.decode().split()[1].rpartition(":")
                with socket.create_connection((host, int(port))) as target:
                    stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(target, stream), daemon=True)
                    back.start()
                    _pump(stream, target)
                    back.join(10)

    def _refusal(self, head: bytes) -> bytes:
        wanted = base64.b64encode((self._user or "").encode())
        known = self._user is None or b"proxy-authorization: basic " + wanted.lower() in head.lower()
        return b"" if known else b"407 Proxy Authentication Required"


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
