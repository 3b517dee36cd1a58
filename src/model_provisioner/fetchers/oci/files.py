"""The files of an artifact, and which of them a reference means.

One GGUF is the model, whatever lies beside it; other weights come with their configuration and documents, as from a repository.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.oci.media_types import is_archive, type_of
from model_provisioner.headers.whole import is_beside
from model_provisioner.references.quantizations import kind_of_gguf, offers
from model_provisioner.references.shards import split_names
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.fetchers.oci.manifest import Layer, Manifest
    from model_provisioner.references.reference import OciRef, OllamaRef

LISTED = 20
"""How many files a message lists."""

Role = Literal["weights", "projector", "adapter", "imatrix", "file", "aside"]


@dataclass(frozen=True)
class ArtifactFile:
    """One file of an artifact."""

    name: str
    """Its path in the artifact, parts parted by `/`."""
    size: int
    sha256: str
    role: Role
    """`file` is what lies beside weights in a repository; `aside` is no part of what an engine opens."""


def files_of(manifest: Manifest, stem: str, where: str) -> list[ArtifactFile]:
    """Return all files of an artifact, in the order of its layers.

    `stem` is what a file is called that its layer gives no name. Raises `FetchError` where a layer is not a file as it stands,
    and for names that two files would share.
    """
    if not manifest.layers:
        raise FetchError(
            "the artifact has no layers",
            where=where,
            expected="the files of a model, one a layer",
            found="a manifest of none: a signature, or a note on another artifact",
            fix="name the artifact that holds the model",
        )
    found = _files(manifest, stem, where)
    if not found:
        raise FetchError(
            "no layer of the artifact says which file it is",
            where=where,
            expected="the annotation org.opencontainers.image.title or org.cncf.model.filepath",
            found=", ".join(sorted({layer.media_type for layer in manifest.layers})[:5]),
            fix="push it anew with a tool that names its files, as `oras push REF model.gguf`",
        )
    names = Counter(file.name.casefold() for file in found)
    for file in found:
        if names[file.name.casefold()] > 1:
            both = sorted(each.name for each in found if each.name.casefold() == file.name.casefold())
            raise FetchError(
                "two files of the artifact would have one name",
                where=where,
                expected="names that differ in more than capital letters",
                found=" and ".join(both[:2]),
                fix="push it anew with one name for each file",
            )
    return found


def meant_by(files: Sequence[ArtifactFile], ref: OciRef | OllamaRef, where: str) -> list[ArtifactFile]:
    """Return the files that a reference means, by the name after its `#`, or without one. Raises `FetchError` for none."""
    path = ref.path
    if path is not None:
        shards = split_names(path) or [path.rpartition("/")[2]]
        folder = path.rpartition("/")[0]
        wanted = [f"{folder}/{name}" if folder else name for name in shards]
        by_name = {file.name: file for file in files}
        if missing := [name for name in wanted if name not in by_name]:
            raise FetchError(
                f"the artifact has no file {missing[0]}",
                where=where,
                expected="a file as the artifact names it",
                found=described(files),
                fix=f"write #{files[0].name} or another of them",
            )
        return [by_name[name] for name in wanted]
    loadable = [file for file in files if file.role in {"weights", "projector", "adapter"}]
    if len(loadable) == 1 and (loadable[0].name.lower().endswith(".gguf") or _is_alone(files)):
        return loadable
    weights = [file for file in files if file.role == "weights"]
    if not weights:
        raise FetchError(
            "the artifact has no weights of a model",
            where=where,
            expected="a GGUF, safetensors or other weights",
            found=described(files),
            fix=f"name the file that is meant: {ref}#{loadable[0].name}"
            if loadable
            else "name the artifact that holds the model",
        )
    ggufs = offers([file.name for file in weights])
    if len(ggufs) == 1 and len(ggufs[0].names) == len(weights):
        return weights
    if len(weights) == 1 and _is_alone(files):
        return weights
    return [file for file in files if file.role in {"weights", "file"}]


def described(files: Sequence[ArtifactFile]) -> str:
    """Return files in words: names and sizes."""
    more = f" and {len(files) - LISTED} more" if len(files) > LISTED else ""
    return ", ".join(f"{file.name} ({human(file.size)})" for file in files[:LISTED]) + more


def _is_alone(files: Sequence[ArtifactFile]) -> bool:
    """Tell whether no configuration lies beside the weights: documents and licences are none."""
    return not any(file.role == "file" and not _is_document(file.name) for file in files)


def _is_document(name: str) -> bool:
    last = name.rpartition("/")[2].lower()
    return last.endswith((".md", ".txt", ".rst", ".pdf")) or last.startswith(
        (".", "license", "licence", "notice", "readme")
    )


def _files(manifest: Manifest, stem: str, where: str) -> list[ArtifactFile]:
    kinds = [type_of(layer.media_type, of_image=manifest.is_image) for layer in manifest.layers]
    unnamed = Counter(
        kind.name for kind, layer in zip(kinds, manifest.layers, strict=True) if layer.name is None and kind.name
    )
    numbers: Counter[str] = Counter()
    found = []
    for kind, layer in zip(kinds, manifest.layers, strict=True):
        _check_layer(layer, kind.kind, where)
        name = layer.name
        if name is None and kind.name:
            numbers[kind.name] += 1
            name = _numbered(kind.name.format(stem=stem), numbers[kind.name], unnamed[kind.name])
        if name is not None and not (is_archive(layer.media_type) and kind.kind == "aside"):
            found.append(ArtifactFile(name, layer.size, layer.sha256, _role(kind.kind, name)))
    return found


def _check_layer(layer: Layer, kind: str, where: str) -> None:
    """Raise `FetchError` for a layer whose bytes are not those of a file, or lie elsewhere."""
    named = f"{layer.name} " if layer.name else ""
    if layer.is_foreign:
        raise FetchError(
            "a layer of the artifact lies elsewhere than in its registry",
            where=where,
            expected="layers that the registry has itself",
            found=f"{named}({layer.media_type})",
            fix="push the artifact anew with all its layers",
        )
    if kind == "image":
        raise FetchError(
            "the reference names a container image, and no artifact whose layers are the files of a model",
            where=where,
            expected="layers that are files: of ModelPack, Docker Model Runner, ORAS or Ollama",
            found=layer.media_type,
            fix="take the model out of the image with its own tool and name the file; or name the model's artifact",
        )
    if kind == "tensor":
        raise FetchError(
            "the model is stored tensor by tensor, which only Ollama puts together",
            where=where,
            expected="a GGUF",
            found=layer.media_type,
            fix="name a tag of the model that is a GGUF: its page at ollama.com lists them",
        )
    if kind == "tar" or layer.is_packed:
        raise FetchError(
            f"{layer.name or 'a layer of the artifact'} is packed as a tar file, whose digest is not that of its files",
            where=where,
            expected="layers that are the files themselves",
            found=layer.media_type,
            fix="push the files as they are, each as a layer, as `oras push REF FILE…` does; or unpack it and name the folder",
        )


_ROLES: dict[str, Role] = {"projector": "projector", "adapter": "adapter", "file": "file", "aside": "aside"}
"""The roles that a media type says by itself."""


def _role(kind: str, name: str) -> Role:
    if (role := _ROLES.get(kind)) is not None:
        return role
    if name.lower().endswith(".gguf") and (gguf := kind_of_gguf(name)) != "model":
        return "projector" if gguf == "mmproj" else "imatrix"
    return "file" if kind == "any" and is_beside(name) else "weights"


def _numbered(name: str, number: int, count: int) -> str:
    """Return what one of several files is called that have no names: weights as shards, others by their number."""
    if count == 1:
        return name
    before, dot, suffix = name.rpartition(".")
    if suffix in {"gguf", "safetensors"}:
        return f"{before}-{number:05d}-of-{count:05d}.{suffix}"
    return f"{before}-{number}{dot}{suffix}" if dot else f"{name}-{number}"
