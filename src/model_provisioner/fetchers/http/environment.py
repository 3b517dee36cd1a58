"""What the environment says of the way to hosts: the proxy, the hosts that are reached without it, the certificates.

Read here alone, so that `hf:`, `https:` and `s3:` go the same way and fail with the same sentences.
"""

from __future__ import annotations

import os
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, SettingError
from model_provisioner.fetchers.http.url import Url

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROXIES = ("https_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
_PROXY = re.compile(r"(?:(?P<scheme>[A-Za-z][\w+.-]*)://)?(?P<place>[^/?#\\]+)/?", re.ASCII)
_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A proxy; `variable` is what names it, for messages. Its credentials are shown in none."""

    variable: str
    url: Url

    @property
    def place(self) -> str:
        """Its host and port, as a part of a sentence."""
        return f"{self.url.origin.partition('://')[2]} of {self.variable}"

    @property
    def headers(self) -> dict[str, str]:
        """What tells it who we are; empty where nothing is known."""
        if self.url.user is None:
            return {}
        return {"proxy-authorization": "Basic " + b64encode(":".join(self.url.user).encode()).decode()}


@dataclass(frozen=True, kw_only=True)
class _Direct:
    """An entry of NO_PROXY: hosts that are reached without the proxy."""

    hosts: str | IPv4Network | IPv6Network
    """A name, which stands for all names below it too, or the addresses of a network."""
    port: int | None = None
    """None: any."""

    def meets(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if isinstance(self.hosts, str):
            return host == self.hosts or host.endswith(f".{self.hosts}")
        try:
            return ip_address(host) in self.hosts
        except ValueError:
            return False


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose certificates count. As a text it is a part of a sentence."""

    variable: str = ""
    """What names them; empty: those of this machine."""
    place: str = ""
    """A file of certificates, or a folder of them."""

    def context(self) -> ssl.SSLContext:
        """Return what judges the certificates of hosts. Raises `SettingError` where those that count can't be read."""
        place = self.place or None
        try:
            if place and os.path.isdir(place):
                return ssl.create_default_context(capath=place)
            return ssl.create_default_context(cafile=place)
        except OSError as error:
            raise SettingError(
                f"the certificates of {self.variable or 'this machine'} can't be read",
                where=self.place or "the environment",
                expected="a file of certificates (PEM), or a folder of them as OpenSSL has it",
                found="no certificate" if isinstance(error, ssl.SSLError) else error.strerror or "",
                fix=f"correct {self.variable}, or take it out of the environment"
                if self.variable
                else "install them anew",
            ) from None

    def __str__(self) -> str:
        return f"{self.variable} ({self.place})" if self.variable else "this machine"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The way to hosts as the environment had it when it was read. A setting is judged when it is needed, and not before."""

    proxy_variable: str = ""
    """The variable that names the proxy; empty for none."""
    proxy_value: str = field(default="", repr=False)
    direct: tuple[_Direct, ...] = ()
    always_direct: bool = False
    """Whether NO_PROXY is `*`, for all hosts."""
    trust: Trust = Trust()

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Environment:
        """Read it; nothing is judged."""
        proxy = next((found for name in _PROXIES if (found := _either(environ, name))[1]), ("", ""))
        entries = [each for each in re.split(r"[,\s]+", _either(environ, "no_proxy")[1].strip()) if each]
        trusted = next((name for name in _CERTIFICATES if environ.get(name)), "")
        return cls(
            proxy_variable=proxy[0],
            proxy_value=proxy[1],
            direct=tuple(_direct(each) for each in entries),
            always_direct="*" in entries,
            trust=Trust(variable=trusted, place=environ.get(trusted, "")),
        )

    def proxy_for(self, url: Url) -> Proxy | None:
        """Return the proxy by which `url` is reached. Raises `SettingError` where it is none that we can use.

        None for http:, too, which is for this machine only.
        """
        direct = self.always_direct or any(each.meets(url.host, url.port) for each in self.direct)
        if not self.proxy_value or direct or url.scheme == "http":
            return None
        parts = _PROXY.fullmatch(self.proxy_value)
        scheme = (parts["scheme"] or "http").lower() if parts else ""
        if parts and scheme not in {"http", "https"}:
            raise self._bad_proxy(f"{scheme[:20]}:")
        try:
            place = Url.parse(f"{scheme}://{parts['place']}" if parts else "")
        except FetchError:
            raise self._bad_proxy("") from None
        return Proxy(variable=self.proxy_variable, url=place)

    def _bad_proxy(self, found: str) -> SettingError:
        """Return the error for a proxy that can't be used; its address is not shown, for it may hold a password."""
        return SettingError(
            f"the proxy that {self.proxy_variable} names can't be used",
            where="the environment",
            expected="http://HOST:PORT or https://HOST:PORT; a password with special characters as %XX",
            found=f"{found}, a kind of proxy that is not spoken here"
            if found
            else "something else, which may hold a password",
            fix=f"correct {self.proxy_variable}, set HTTPS_PROXY to a proxy of this kind, or name the host in NO_PROXY",
        )


def _either(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a variable of proxies with its value: the name in small letters counts before that in capitals."""
    small = name in environ
    used = name if small else name.upper()
    return used, environ.get(used, "").strip()


def _direct(entry: str) -> _Direct:
    """Read an entry of NO_PROXY: a name, a domain, an address or a network, perhaps with a port."""
    try:
        return _Direct(hosts=ip_network(entry.strip("[]"), strict=False))
    except ValueError:
        pass
    if found := _PORT.fullmatch(entry):
        return _Direct(hosts=_direct(found["host"]).hosts, port=int(found["port"]))
    return _Direct(hosts=entry.lower().removeprefix("*").removeprefix("."))
