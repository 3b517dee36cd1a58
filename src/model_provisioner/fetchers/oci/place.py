"""Where a registry is asked: the origin of a registry's name, and a repository there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, SettingError
from model_provisioner.fetchers.http.url import Url
from model_provisioner.references.artifact_name import DOCKER_HUB, LIBRARY
from model_provisioner.references.reference import OciRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.references.reference import OllamaRef

OLLAMA_VARIABLE = "MODEL_PROVISIONER_OLLAMA_REGISTRY"
_OLLAMA = "https://registry.ollama.ai"
_DOCKER_HUB_API = "https://registry-1.docker.io"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A repository of a registry."""

    registry: str
    """Its name, by which logins are kept: the host, with a port where that is not the usual one."""
    origin: str
    """Scheme, host and port of who is asked."""
    repository: str

    @property
    def host(self) -> str:
        """Who is asked, for the network policy."""
        return Url.parse(self.origin).host

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is this machine: alone then it is spoken to by http:."""
        return self.origin.startswith("http:")

    def url(self, what: str) -> str:
        """Return the URL of what the registry has of the repository: `manifests/…`, `blobs/…`."""
        return f"{self.origin}/v2/{self.repository}/{what}"


def place_of(ref: OciRef | OllamaRef) -> Place:
    """Return where the artifact of a reference is asked for. Raises `SettingError` for a setting that names no registry."""
    if isinstance(ref, OciRef):
        return registry_place(ref.registry, ref.repository)
    origin = _ollama_origin(os.environ)
    repository = ref.model if "/" in ref.model else f"{LIBRARY}/{ref.model}"
    return Place(registry=origin.partition("://")[2], origin=origin, repository=repository)


def registry_place(registry: str, repository: str) -> Place:
    """Return where a repository is asked for, by the name of its registry. A registry of this machine speaks http:."""
    if registry == DOCKER_HUB:
        repository = repository if "/" in repository else f"{LIBRARY}/{repository}"
        return Place(registry=registry, origin=_DOCKER_HUB_API, repository=repository)
    scheme = "http" if Url.parse(f"https://{registry}").is_loopback else "https"
    return Place(registry=registry, origin=Url.parse(f"{scheme}://{registry}").origin, repository=repository)


def _ollama_origin(environ: Mapping[str, str]) -> str:
    """Return the origin of Ollama's registry, or of the one that has its models here."""
    text = (environ.get(OLLAMA_VARIABLE) or _OLLAMA).rstrip("/")
    try:
        url = Url.parse(text)
        if text == url.origin and (url.scheme == "https" or url.is_loopback):
            return text
    except FetchError:
        pass
    raise SettingError(
        f"{OLLAMA_VARIABLE} is not the address of a registry",
        where="the environment",
        expected="https://HOST or https://HOST:PORT, in small letters; http:// for a registry on this machine",
        found="something else",
        fix=f"correct it, or take it out of the environment: then {_OLLAMA} is asked",
    )
