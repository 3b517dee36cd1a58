"""How an artifact of a registry is named after `oci:`, and a model of Ollama's after `ollama:`.

The grammars: https://github.com/distribution/reference, and `types/model/name.go` of Ollama.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.file_names import NO_KEY
from model_provisioner.references.shown import shown

_FORM = "oci:REGISTRY/REPO[:TAG][@sha256:DIGEST][#FILE]"
_OLLAMA_FORM = "ollama:NAME[:TAG][#FILE] or ollama:USER/NAME[:TAG][#FILE]"

_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]"
_REGISTRY = re.compile(rf"(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?=.{{1,255}}\Z){_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""The digest of a manifest or a layer, for `fullmatch`."""
_USER = re.compile(r"\w[\w-]{0,79}", re.ASCII)
_NAME = re.compile(r"\w[\w.-]{0,79}", re.ASCII)
DOCKER_HUB = "docker.io"
LIBRARY = "library"
"""Where models lie that are named without a user, as images of Docker Hub do."""
LATEST = "latest"
"""The tag that is meant where none is named."""


class ArtifactName(NamedTuple):
    """What a text after `oci:` names, as it is written."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None
    path: str | None


class OllamaName(NamedTuple):
    """What a text after `ollama:` names."""

    model: str
    """With its user, where it has one."""
    tag: str
    path: str | None


def read_artifact_name(rest: str) -> ArtifactName:
    """Read what follows `oci:`, whatever it is. Only the registry is folded to small letters, as hosts are the same in both."""
    rest, mark, path = rest.removeprefix("//").partition("#")
    registry, _, repository = rest.partition("/")  # with what stands before a host, which is no digest
    repository, at, digest = repository.partition("@")
    repository, colon, tag = repository.partition(":")
    return ArtifactName(
        registry.lower(), repository, tag if colon else None, digest if at else None, path if mark else None
    )


def check_artifact_name(name: ArtifactName, text: str) -> None:
    """Raise `InvalidReferenceError` unless a registry can have such an artifact; `text` is the whole reference."""
    host, hub = name.registry, f"{name.registry}/{name.repository}"
    if not name.repository or (not any(sign in host for sign in ".:@") and host != "localhost"):
        is_hubs = bool(name.repository) and bool(_REPOSITORY.fullmatch(hub))
        raise InvalidReferenceError(
            "an artifact is named by its registry and its repository",
            expected=_FORM,
            found=shown(text),
            fix=f"if it lies at Docker Hub, write {shown(text.replace(hub, f'{DOCKER_HUB}/{hub}', 1))}"
            if is_hubs
            else "write the registry's host and then the repository, as in oci:ghcr.io/org/model:q4",
        )
    found = _REGISTRY.fullmatch(host)
    if found is None or not 0 < int(found["port"] or 443) < 1 << 16:
        raise InvalidReferenceError(
            "not the host of a registry",
            expected="HOST or HOST:PORT, without credentials: these come from `docker login`",
            found=shown(text),
            fix="write it as `docker pull` takes it, as in oci:ghcr.io/org/model:q4",
        )
    if not _REPOSITORY.fullmatch(name.repository):
        small = name.repository.lower()
        raise InvalidReferenceError(
            "no repository of a registry can have this name",
            where=f"oci:{host}",
            expected="small letters and digits, parts parted by / and within them by . _ or -",
            found=shown(name.repository),
            fix=f"write oci:{host}/{small}"
            if _REPOSITORY.fullmatch(small)
            else "copy the name from the registry's page, without the version",
        )
    if name.tag is not None and not _TAG.fullmatch(name.tag):
        raise InvalidReferenceError(
            "no artifact can have this tag",
            where=f"oci:{host}/{name.repository}",
            expected="up to 128 letters, digits, _ . and -, none of the last two first",
            found=shown(name.tag) or "an empty text",
            fix="copy the tag from the registry's page, or leave it out with its colon: then it is latest",
        )
    if name.digest is not None and not DIGEST.fullmatch(name.digest):
        raise InvalidReferenceError(
            "not the digest of a manifest",
            where=f"oci:{host}/{name.repository}",
            expected="sha256: and 64 hexadecimal digits in small letters after @",
            found=shown(name.digest) or "an empty text",
            fix="copy it from the registry's page; a version is written with a colon: :TAG",
        )
    _check_path(name.path, text, _FORM)


def read_ollama_name(rest: str) -> OllamaName:
    """Read what follows `ollama:`, whatever it is."""
    rest, mark, path = rest.removeprefix("//").partition("#")
    model, colon, tag = rest.partition(":")
    return OllamaName(model.removeprefix(f"{LIBRARY}/"), tag if colon else LATEST, path if mark else None)


def check_ollama_name(name: OllamaName, text: str) -> None:
    """Raise `InvalidReferenceError` unless Ollama's registry can have such a model; `text` is the whole reference."""
    *above, last = name.model.split("/")
    host = above[0].lower() if above else ""
    if host in {"hf.co", "huggingface.co"}:
        raise InvalidReferenceError(
            "a repository of the Hugging Face Hub, which is not asked by way of Ollama",
            expected=_OLLAMA_FORM,
            found=shown(text),
            fix=f"write hf:{'/'.join((*above[1:], last))}:{name.tag}"
            if name.tag != LATEST
            else f"write hf:{'/'.join((*above[1:], last))}",
        )
    if "@" in text.partition("#")[0]:
        raise InvalidReferenceError(
            "a model of Ollama is named by a tag, and by no digest",
            expected=_OLLAMA_FORM,
            found=shown(text),
            fix="write the tag alone: the lock file pins the digest",
        )
    if len(above) > 1 or not _NAME.fullmatch(last) or not all(_USER.fullmatch(user) for user in above):
        raise InvalidReferenceError(
            "not the name of a model of Ollama",
            expected=_OLLAMA_FORM,
            found=shown(text),
            fix="copy the name from its page at ollama.com; a model of another registry is written oci:REGISTRY/REPO:TAG",
        )
    if not _NAME.fullmatch(name.tag):
        raise InvalidReferenceError(
            "no model of Ollama can have this tag",
            where=shown(f"ollama:{name.model}"),
            expected="up to 80 letters, digits, _ . and -, none of the last two first",
            found=shown(name.tag) or "an empty text",
            fix="copy the tag from the model's page at ollama.com, or leave it out with its colon: then it is latest",
        )
    _check_path(name.path, text, _OLLAMA_FORM)


def _check_path(path: str | None, text: str, form: str) -> None:
    if path is not None and (NO_KEY.search(path) or "" in path.split("/")):
        raise InvalidReferenceError(
            "not a file of an artifact",
            where=shown(text.partition("#")[0]),
            expected=form,
            found=shown(path) or "an empty text",
            fix="write the file's name as `list` shows it after #, or neither name nor #",
        )
