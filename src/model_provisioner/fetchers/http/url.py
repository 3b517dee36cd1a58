"""The URL of one request: what is asked of the policy is what is connected to, for it is taken apart only here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import quote, unquote, urljoin, urlsplit

from model_provisioner.errors import FetchError

_HOST = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w.])?|[0-9A-Fa-f:.]+", re.ASCII)
_KEPT = "%/:?#[]@!$&'()*+,;=~"
"""What has a meaning in a URL, or is escaped already."""


@dataclass(frozen=True, kw_only=True)
class Url:
    """A URL in parts. Its `str` is for messages: no credentials, no query."""

    scheme: str
    host: str
    """In lower case, an IPv6 address without its brackets."""
    port: int
    path: str
    query: str = field(repr=False)
    user: tuple[str, str] | None = field(repr=False)
    """Name and password, where the URL holds them."""

    @classmethod
    def parse(cls, text: str) -> Url:
        """Take a URL apart. Raises `FetchError` for what is no http: or https: URL, without showing it."""
        try:
            parts = urlsplit(quote(text, safe=_KEPT))
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not _HOST.fullmatch(host) or parts.scheme not in _PORTS or port == 0:
            raise FetchError(
                "the address of the file is no URL that it can be fetched from",
                where="what the source lists, or a redirect leads to",
                expected="https://HOST/FILE",
                found="something else, which may hold a secret",
                fix="copy the link of the file from its page",
            )
        return cls(
            scheme=parts.scheme,
            host=host,
            port=port or _PORTS[parts.scheme],
            path=parts.path or "/",
            query=parts.query,
            user=None if parts.username is None else (unquote(parts.username), unquote(parts.password or "")),
        )

    def joined(self, location: str) -> Url:
        """Return where a redirect from here leads; `location` is as it stood in the header, one character a byte."""
        try:
            raw = location.encode("latin-1")
            target = urljoin(f"{self.origin}{self.target}", quote(raw, safe=_KEPT))
        except ValueError:
            target = ""
        return Url.parse(target)

    @property
    def origin(self) -> str:
        """Scheme, host and port: who gets the credentials that were meant for this URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    @property
    def target(self) -> str:
        """What is asked of the host."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, so that nobody else can read what is sent."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def check_scheme(url: Url, *, asked: str, sender: str) -> None:
    """Raise `FetchError` for http:, unless the source was `asked` for by it and is on this machine.

    `sender` is the host that led to `url`, for the message.
    """
    if url.scheme == "http" and not (asked == "http" and url.is_loopback):
        raise FetchError(
            f"{sender} would have the model sent over http:, where anybody can read and change it",
            where=url.origin,
            expected="https:",
            found="http:",
            fix="name a source that is reached over https:",
        )


_PORTS = {"https": 443, "http": 80}
