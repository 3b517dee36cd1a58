"""The URLs of a Hugging Face Hub that people paste: which repository, revision and file each of them means.

The addresses of its pages: https://huggingface.co/docs/hub/repositories
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from model_provisioner.errors import InvalidReferenceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HUBS = ("https://huggingface.co", "https://hf.co")
_PORTS = {"https": 443, "http": 80}
_OF_A_FILE = frozenset(("blob", "resolve", "raw"))
_PAGES = frozenset(("blob", "raw", "tree"))
_NO_MODELS = frozenset(("datasets", "spaces"))
# What git keeps under refs/: people write its slashes as they are, and no branch or tag is called "refs".
_REFS = re.compile(r"refs/(?:pr/[0-9]+|convert/\w+)(?=/|\Z)", re.ASCII)
# A web server that is a Hub too may have files beside the repositories.
_FILE = re.compile(r"\.(?:gguf|safetensors|bin|pth?|onnx)\Z", re.IGNORECASE)


class Meant(NamedTuple):
    """What a URL of a Hub means."""

    text: str
    """What follows `hf:` in the reference."""
    download: str | None
    """The path of the file's bytes at the same host; None of a whole repository."""


def meaning(url: str, environ: Mapping[str, str] = os.environ) -> Meant | None:
    """Return what a URL means as a reference of a Hub's model; None where it is another thing.

    A Hub is huggingface.co, and that of `HF_ENDPOINT` by the scheme that this has. Raises `InvalidReferenceError` for a folder
    of a repository.
    """
    found = _below_a_hub(url, environ.get("HF_ENDPOINT", ""))
    if found is None:
        return None
    top, written = found[0], found[1].strip("/").split("/")
    try:
        parts = [unquote(part, errors="strict") for part in written]
    except UnicodeDecodeError:
        return None
    if parts[0] in _NO_MODELS and len(parts) > 2:
        # A page of theirs is no model; one of their files may be, as any web server's.
        is_page = parts[3] in _PAGES if parts[3:] else not _FILE.search(parts[2])
        return Meant("/".join(parts[:3]), None) if is_page else None
    if len(parts) < 2 or any(sign in part for part in parts[:2] for sign in "@/"):
        return None
    org, repo, *rest = parts
    if not rest:
        return None if _FILE.search(repo) else Meant(f"{org}/{repo.removesuffix('.git')}", None)
    kind, inside = rest[0], "/".join(rest[1:])
    first = _REFS.match(inside)
    revision = first[0] if first else rest[1] if rest[1:] else ""
    path = inside[len(revision) + 1 :]
    reference = f"{org}/{repo}@{revision.replace('/', '%2F')}"
    if kind in _OF_A_FILE and path:
        return Meant(f"{reference}/{path}", "/".join([top, *written[:2], "resolve", *written[3:]]))
    if kind != "tree" or not revision:
        return None
    if path:
        raise InvalidReferenceError(
            "a folder of a Hugging Face repository is no model by itself",
            expected="a repository, or one file of it",
            found=f"hf:{reference}/{path}"[:200],
            fix="name one of its files; or take some of the repository's files:   "
            f'{{model_ref: "hf:{reference}", include: ["{path}/*"]}}'[:400],
        )
    return Meant(reference, None)


def _below_a_hub(url: str, endpoint: str) -> tuple[str, str] | None:
    """Return the path of a URL in two parts, that of the Hub and what is below it; None where it lies on no Hub."""
    if (place := _place(url)) is None:
        return None
    *origin, path = place
    for *hub, top in _hubs(endpoint):
        if hub == origin and path.startswith(f"{top}/"):
            return top, path[len(top) + 1 :]
    return None


@lru_cache(maxsize=4)
def _hubs(endpoint: str) -> list[tuple[str, str, int, str]]:
    return [place for hub in (*_HUBS, endpoint.rstrip("/")) if (place := _place(hub)) is not None]


def _place(url: str) -> tuple[str, str, int, str] | None:
    """Return scheme, host, port and path of a URL; None of what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port, parts.path) if parts.hostname else None
