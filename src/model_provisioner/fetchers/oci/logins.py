"""Who we are to a registry: what `docker login` and `podman login` keep. Nothing of it is ever shown.

Formats: https://docs.docker.com/reference/cli/docker/login/ and containers-auth.json(5). No other program is started, so
what a credential helper keeps is not known here.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_provisioner.fs.read import read_file
from model_provisioner.json_text import parse_json
from model_provisioner.references.artifact_name import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.fetchers.oci.place import Place

LIMIT = 1 << 20
"""Bytes that one of the files may have."""
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io"}
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_VERSION = re.compile(r"/v[12]/?\Z")


@dataclass(frozen=True)
class Login:
    """A user of a registry: with a password, or with a token that stands for both."""

    user: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class Found:
    """What the files say of a registry."""

    login: Login | None
    why_not: str = ""
    """Why there is no login, as the end of a sentence; empty where nothing is known of it."""


def login_for(place: Place, environ: Mapping[str, str] = os.environ) -> Found:
    """Return who we are to the registry of a place. The first file that has it counts; nothing is raised."""
    names = _names(place)
    why_not = ""
    for path in _paths(environ):
        try:
            document = parse_json(read_file(path, LIMIT))
            auths = document.get("auths") or {}
            by_name = {_normal(key): value for key, value in auths.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError):
            why_not = f"{path} can't be read"
            continue
        for name in names:
            if name in by_name and (login := _login(by_name[name])) is not None:
                return Found(login)
        if helper := _helper(document, names[-1]):
            why_not = f"{path} leaves it to the credential helper {helper}, which is not started here"
    return Found(None, why_not)


def _paths(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files of logins, in the order of containers-auth.json(5)."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield named
        return
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    yield os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")


def _names(place: Place) -> list[str]:
    """Return the names that a login for a place may have, the narrowest first: Podman has some for a part of a registry."""
    parts = place.repository.split("/")
    return ["/".join((place.registry, *parts[:count])) for count in range(len(parts), -1, -1)]


def _normal(key: str) -> str:
    """Return the registry that a key of `auths` names: Docker writes some as URLs, and Docker Hub as one."""
    text = _VERSION.sub("", _SCHEME.sub("", key)).rstrip("/")
    host, slash, rest = text.partition("/")
    return (DOCKER_HUB if host.lower() in _HUB_NAMES else host.lower()) + slash + rest


def _login(value: Any) -> Login | None:
    """Return the login of one entry of `auths`; None where it holds none."""
    if not isinstance(value, dict):
        return None
    user, password, token = (value.get(key) or "" for key in ("username", "password", "identitytoken"))
    try:
        if auth := value.get("auth"):
            user, colon, password = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
            if not colon:
                return None
    except (binascii.Error, ValueError, TypeError):
        return None
    if not all(isinstance(each, str) for each in (user, password, token)) or not user or not (password or token):
        return None
    return Login(user, password, token)


def _helper(document: Any, registry: str) -> str:
    helpers = document.get("credHelpers")
    found = helpers.get(registry) if isinstance(helpers, dict) else None
    found = found or document.get("credsStore")
    return found[:40] if isinstance(found, str) else ""
