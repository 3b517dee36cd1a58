"""The network policy: which hosts may be contacted. None, unless the configuration names them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model_provisioner.errors import InputError, NotAllowedError, SettingError, printable
from model_provisioner.settings import is_on, is_true

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRESETS = {
    "huggingface": ("huggingface.co", "*.huggingface.co", "*.hf.co"),
    "ollama": ("registry.ollama.ai", "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"),
    "dockerhub": (
        "registry-1.docker.io",
        "auth.docker.io",
        "production.cloudflare.docker.com",
        "production.cloudfront.docker.com",
        "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
    ),
    "ghcr": ("ghcr.io", "pkg-containers.githubusercontent.com"),
}
"""Names for a Hub or a registry, with all hosts that serve its files and give out its tokens."""

OFFLINE_VARIABLE, HUBS_VARIABLE = "MODEL_PROVISIONER_OFFLINE", "HF_HUB_OFFLINE"
HOSTS_VARIABLE = "MODEL_PROVISIONER_NETWORK"

# An underscore is not for hosts, but names with one are in use in company networks.
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?!.*\.[0-9]+\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*", re.ASCII
)


def offline_reason(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return which variable forbids all network, as `NAME=value`; None where none does. Raises `SettingError`."""
    ours = is_on(OFFLINE_VARIABLE, environ)
    name = OFFLINE_VARIABLE if ours else HUBS_VARIABLE
    return f"{name}={environ[name]}" if ours or is_true(environ.get(name, "")) else None


def users_hosts(environ: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Return the hosts that the user lets be contacted, whatever a project allows: none for `off`; None: there is no limit.

    They are written as in `network.allow`. Raises `SettingError`.
    """
    text = environ.get(HOSTS_VARIABLE, "").strip()
    hosts = text.replace(",", " ").split()
    if not text or text.lower() == "off":
        return () if text else None
    faults = ((host, "it stands alone" if host.lower() == "off" else fault_of(host)) for host in hosts)
    for host, fault in faults if hosts else [(text, "it names no host")]:
        if fault is not None:
            raise SettingError(
                f"{HOSTS_VARIABLE} can't be understood",
                where="the environment",
                expected="off, or hosts with blanks or commas between them, written as in network.allow",
                found=f"{_shown(host)}: {fault}",
                fix=f'correct it, as in   export {HOSTS_VARIABLE}="huggingface, models.example.org"',
            )
    return tuple(hosts)


def check_hosts(hosts: Iterable[str]) -> None:
    """Raise `InputError` for what can't be a host that a program allows."""
    for host in hosts:
        if (fault := fault_of(host)) is not None:
            raise InputError(
                "a host that is allowed can't be understood",
                where="allow",
                expected="names, addresses or *.NAME, written as in network.allow; huggingface for all hosts of the Hub",
                found=f"{_shown(host)}: {fault}",
                fix='correct it, as in   allow=["huggingface", "models.example.org"]',
            )


@dataclass(frozen=True)
class NetworkPolicy:
    """The hosts that may be contacted, whatever the port."""

    allow: tuple[str, ...]
    """Names, addresses, `*.name` for all that is below a name but not itself, and names of `PRESETS`."""
    offline: str | None
    """Why nothing may be contacted at all, in the words of who said so ("--offline"); else None."""
    config: str
    """The file that `allow` stands in; empty where a program allows them by the call."""
    users: tuple[str, ...] | None = None
    """The hosts that the user lets be contacted, written as in `allow`; None: as `allow` has it."""

    def allows(self, host: str) -> bool:
        """Tell whether `host`, a name or an address with or without brackets, may be contacted."""
        if self.offline is not None:
            return False
        limits = (self.allow,) if self.users is None else (self.allow, self.users)
        return all(_is_among(host, patterns) for patterns in limits)

    def check(self, host: str, entry: str, line: int) -> None:
        """Raise `NotAllowedError`, which names `entry` and its `line`, unless `host` may be contacted."""
        if self.allows(host):
            return
        host, by_program = _normal(host), not self.config
        where, setting = (entry, "allow") if by_program else (f"{self.config}:{line}", "network.allow")
        instead = f"download the model and {'ask for' if by_program else 'point model_ref at'} the file"
        if self.offline is not None:
            raise NotAllowedError(
                f"{entry} would have to be fetched, and this run is offline ({self.offline})",
                where=where,
                expected=f"{host} may be contacted",
                found=f"{self.offline} forbids all network",
                fix=f"run once without {self.offline}, or {instead}",
            )
        if self.users is not None and not _is_among(host, self.users):
            raise NotAllowedError(
                f"{entry} would have to be fetched, and MODEL_PROVISIONER_NETWORK does not allow {host}",
                where=where,
                expected=f"{host} among the hosts of {HOSTS_VARIABLE}",
                found=f"{HOSTS_VARIABLE}={', '.join(self.users) or 'off'}",
                fix=f"add {host} to it if you trust that host, or {instead}",
            )
        raise NotAllowedError(
            f"{entry} would have to be fetched, and the network is not allowed",
            where=where,
            expected=f"{host} among the hosts of {setting}",
            found=f"allow: [{', '.join(_shown(pattern) for pattern in self.allow)}]",
            fix=f'add "{host}" to {setting}{_preset_of(host)}, or {instead}',
        )


def written_for(host: str) -> str:
    """Return what lets a host be contacted, as an item of `network.allow`: the name that has the hosts of its files too."""
    return next(
        (name for name, each in PRESETS.items() if any(_matches(pattern, _normal(host)) for pattern in each)), host
    )


def fault_of(pattern: str) -> str | None:
    """Return what is wrong with an item of `network.allow`, as the end of a sentence; None where it can be a host.

    The text holds no credential, whatever was written.
    """
    if not pattern.strip():
        return "it is empty"
    if "://" in pattern or "/" in pattern or "@" in pattern:
        host = _host_in(pattern)
        return f'it is more than a host; write "{host}"' if host else "it is more than a host"
    if pattern == "*":
        return "it would allow every host; name the hosts, or *.NAME for all below a name"
    wild = pattern.startswith("*.")
    name = _normal(pattern[2:] if wild else pattern)
    if _is_address(name):
        return "addresses have nothing below them; write the address" if wild else None
    if _NAME.fullmatch(name):
        return None
    before, colon, after = name.rpartition(":")
    if colon and (after.isdecimal() or not after) and (_is_address(_normal(before)) or _NAME.fullmatch(before)):
        return f'every port of a host is allowed; write "{"*." if wild else ""}{before}"'
    if "*" in name:
        return "a star stands at the start only, as in *.NAME"
    return "no host has this name"


def _is_among(host: str, patterns: tuple[str, ...]) -> bool:
    host = _normal(host)
    each = (one for pattern in patterns for one in PRESETS.get(pattern.lower(), (pattern,)))
    return bool(host) and any(_matches(pattern, host) for pattern in each)


def _matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return not _is_address(host) and host.endswith("." + _normal(pattern[2:]))
    return _normal(pattern) == host


def _normal(host: str) -> str:
    """Return the one spelling of a host that is compared: lower case, in ASCII, no brackets, no dot at its end."""
    host = host.strip().lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    with suppress(ValueError):
        return str(ip_address(host))
    host = host.removesuffix(".")
    with suppress(UnicodeError):
        return host if host.isascii() else host.encode("idna").decode()
    return host


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _host_in(pattern: str) -> str:
    """Return the host of a URL, or of a URL without its scheme; empty where there is none."""
    with suppress(ValueError):
        host = urlsplit(pattern if "://" in pattern else f"//{pattern}").hostname or ""
        return host if fault_of(host) is None else ""
    return ""


def _preset_of(host: str) -> str:
    name = written_for(host)
    return f' (or "{name}", which has the hosts of its files too)' if name != host else ""


def _shown(pattern: str) -> str:
    """Return an item as it may stand in a message: credentials that someone wrote there are left out."""
    return printable(f"…@{pattern.rpartition('@')[2]}" if "@" in pattern else pattern)
