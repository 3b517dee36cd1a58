"""A manifest: which layers an artifact has. It is read with suspicion: a registry sends what anybody pushed.

https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.listing import FILES
from model_provisioner.fetchers.oci.media_types import EMPTY, IMAGE_CONFIGS, INDEXES, is_foreign
from model_provisioner.json_text import parse_json
from model_provisioner.references.artifact_name import DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.fetchers.oci.place import Place

MANIFEST_BYTES = 4 << 20
"""What a manifest may have: registries take no more."""
_LARGEST = 1 << 62
"""Bytes of a layer, beyond which no file system has a file."""
_LONGEST_NAME, _LONGEST_TYPE = 4096, 255
"""Characters of a name, beyond which no system has a path, and of a media type (RFC 6838)."""
_NAMES = ("org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title")
"""The annotations that name the file of a layer; the first that is there counts."""
_UNPACK = "io.deis.oras.content.unpack"
"""The annotation by which ORAS marks a folder that it packed."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One blob of an artifact."""

    media_type: str
    sha256: str
    """In hexadecimal: of its bytes, which are those of the file."""
    size: int
    name: str | None
    """The path of its file in the artifact, as an annotation has it: nothing is checked of it."""
    is_packed: bool
    """Whether it is marked as a folder that was packed."""
    is_foreign: bool
    """Whether its bytes lie elsewhere than in the registry."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an artifact is made of."""

    digest: str
    """Of the manifest itself, `sha256:…`."""
    is_image: bool
    """Whether its configuration is that of an image."""
    layers: tuple[Layer, ...]


class _UnsoundError(Exception):
    """What is no manifest; says why, as what was found."""


def read_manifest(data: bytes, digest: str, place: Place, where: str) -> Manifest:
    """Return the manifest that the bytes of a digest are, of a repository at a place; `where` is for messages.

    Raises `FetchError` for anything else.
    """
    try:
        document = _document(data)
        is_index = str(document.get("mediaType")) in INDEXES or isinstance(document.get("manifests"), list)
        layers = () if is_index else tuple(_layers(document))
    except _UnsoundError as error:
        raise FetchError(
            "the registry's answer is no manifest that can be understood",
            where=where,
            expected="an OCI image manifest, or Docker's of version 2, schema 2",
            found=str(error),
            fix="check that the reference names a model; else tell who runs the registry",
        ) from None
    if is_index:
        raise _index(document, place, where)
    config = document.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    return Manifest(digest=digest, is_image=isinstance(kind, str) and kind in IMAGE_CONFIGS, layers=layers)


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = parse_json(data)
    except ValueError as error:
        raise _UnsoundError(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise _UnsoundError("JSON, and no object")
    return document


def _layers(document: dict[str, Any]) -> Iterator[Layer]:
    """Yield the layers of a manifest. Raises `_UnsoundError` for what can't be one."""
    if document.get("schemaVersion") != 2:
        raise _UnsoundError(f"schemaVersion {document.get('schemaVersion')!r:.20}, where 2 is read")
    found = document.get("layers")
    if not isinstance(found, list):
        raise _UnsoundError("no list of layers")
    if len(found) > FILES:
        raise _UnsoundError(f"{len(found):,} layers, and at most {FILES:,} are read")
    for number, each in enumerate(found):
        if not isinstance(each, dict):
            raise _UnsoundError(f"layer {number} is no descriptor")
        media_type, digest, size = (each.get(key) for key in ("mediaType", "digest", "size"))
        annotations = each.get("annotations") or {}
        if media_type == EMPTY:
            continue
        if not isinstance(media_type, str) or len(media_type) > _LONGEST_TYPE or not isinstance(annotations, dict):
            raise _UnsoundError(f"layer {number} has no media type, or annotations that are none")
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise _UnsoundError(f"layer {number} has the digest {digest!r:.100}, where sha256: and 64 digits are read")
        if type(size) is not int or not 0 <= size < _LARGEST:
            raise _UnsoundError(f"layer {number} has the size {size!r:.40}, where a number of bytes is read")
        name = next((annotations[key] for key in _NAMES if key in annotations), None)
        if name is not None and not isinstance(name, str):
            raise _UnsoundError(f"layer {number} is named by something else than a text")
        if name is not None and len(name) > _LONGEST_NAME:
            raise _UnsoundError(f"layer {number} has a name of {len(name):,} characters")
        yield Layer(
            media_type=media_type,
            sha256=digest.partition(":")[2],
            size=size,
            name=name,
            is_packed=annotations.get(_UNPACK) == "true",
            is_foreign=bool(each.get("urls")) or is_foreign(media_type),
        )


def _index(document: dict[str, Any], place: Place, where: str) -> FetchError:
    """Return the error for an index: it names other manifests, of which a model is one."""
    manifests = document.get("manifests")
    found = [each for each in manifests if isinstance(each, dict)] if isinstance(manifests, list) else []
    named = [f"{each.get('digest')!s:.80}{_platform(each)}" for each in found[:10]]
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    first = next((str(each["digest"]) for each in found if DIGEST.fullmatch(str(each.get("digest")))), "sha256:DIGEST")
    return FetchError(
        "the reference names an index of several manifests, and no model by itself",
        where=where,
        expected="the manifest of one artifact",
        found=(", ".join(named) + more) if named else "an index of none",
        fix=f"name the one that is meant by its digest: oci:{place.registry}/{place.repository}@{first}",
    )


def _platform(each: dict[str, Any]) -> str:
    platform = each.get("platform")
    if not isinstance(platform, dict):
        return ""
    return f" ({str(platform.get('os'))[:20]}/{str(platform.get('architecture'))[:20]})"
