"""What a layer is by its media type, as each tool writes it.

ModelPack: https://github.com/modelpack/model-spec (`specs-go/v1/mediatype.go`; `cnai` is its name before 2025).
Docker Model Runner: https://github.com/docker/model-runner (`pkg/distribution/types/config.go`, and for ModelPack's
`pkg/distribution/modelpack`).
Ollama: https://github.com/ollama/ollama (`server/images.go`, `server/create.go`).
KitOps: https://github.com/kitops-ml/kitops (`pkg/lib/constants/mediatype`).
ORAS gives every file the type of an image's layer unless it is told another one: https://oras.land/docs/how_to_guides/pushing_and_pulling
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["weights", "projector", "adapter", "file", "aside", "any", "tar", "image", "tensor"]
"""`file`: of the repository, beside its weights. `aside`: no part of what an engine opens, and fetched only by name. `any`: its
name says what it is. `tar`, `image` and `tensor`: what can't be taken."""


class Type(NamedTuple):
    """What a media type says of a layer."""

    kind: Kind
    name: str = ""
    """What its file is called where no annotation says it; `{stem}` is what the artifact is called. Empty for none."""


_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_EXACT = {
    "application/vnd.docker.ai.gguf.v3": Type("weights", "{stem}.gguf"),
    "application/vnd.docker.ai.safetensors": Type("weights", "{stem}.safetensors"),
    "application/vnd.docker.ai.dduf": Type("weights", "{stem}.dduf"),
    "application/vnd.docker.ai.mmproj": Type("projector", "mmproj.gguf"),
    "application/vnd.docker.ai.model.file": Type("any"),
    "application/vnd.docker.ai.license": Type("aside", "LICENSE"),
    "application/vnd.docker.ai.chat.template.jinja": Type("aside", "template.jinja"),
    "application/vnd.docker.ai.vllm.config.tar": Type("tar"),
    "application/vnd.docker.ai.dir.tar": Type("tar"),
    "application/vnd.ollama.image.model": Type("weights", "{stem}.gguf"),
    "application/vnd.ollama.image.projector": Type("projector", "mmproj.gguf"),
    "application/vnd.ollama.image.adapter": Type("adapter", "adapter.gguf"),
    "application/vnd.ollama.image.template": Type("aside", "template"),
    "application/vnd.ollama.image.prompt": Type("aside", "prompt"),
    "application/vnd.ollama.image.system": Type("aside", "system"),
    "application/vnd.ollama.image.params": Type("aside", "params.json"),
    "application/vnd.ollama.image.messages": Type("aside", "messages.json"),
    "application/vnd.ollama.image.license": Type("aside", "LICENSE"),
    "application/vnd.ollama.image.tensor": Type("tensor"),
    "application/vnd.ollama.image.json": Type("aside"),
    "application/vnd.ollama.image.embed": Type("aside"),
    "application/vnd.docker.image.rootfs.diff.tar": Type("image"),
    "application/vnd.docker.image.rootfs.diff.tar.gzip": Type("image"),
    f"{_OCI_LAYER}+gzip": Type("image"),
    f"{_OCI_LAYER}+zstd": Type("image"),
}
_MODEL_PACK = re.compile(
    r"application/vnd\.(?:cncf|cnai)\.model\.(?P<what>weight|weight\.config|doc|code|dataset)\.v1\."
    r"(?:(?P<form>raw|gguf|safetensors)|(?P<packed>.*))"
)
_KIT = re.compile(r"application/vnd\.kitops\.modelkit\.\w+\.v1\.tar(?:\+[\w-]+)?")
_FOREIGN = re.compile(r"application/vnd\.(?:oci\.image\.layer\.nondistributable\.|docker\.image\.rootfs\.foreign\.).*")
_ASIDE = {"doc", "code", "dataset"}

IMAGE_CONFIGS = {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
"""The configurations of images. Ollama's models have one of them, too."""
INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
EMPTY = "application/vnd.oci.empty.v1+json"
"""A layer that stands where there is none."""


def type_of(media_type: str, *, of_image: bool) -> Type:
    """Return what a layer of a media type is; `of_image` is whether its manifest has the configuration of an image."""
    media_type = media_type.partition(";")[0].strip()
    if media_type == _OCI_LAYER:
        return Type("image" if of_image else "any")
    if found := _MODEL_PACK.fullmatch(media_type):
        what = found["what"]
        if found["packed"]:
            return Type("aside" if what in _ASIDE else "tar")  # an archive of documents is not in the way of a model
        kind: Kind = "any" if what == "weight" else "aside" if what == "dataset" else "file"
        return Type(kind, "" if found["form"] == "raw" else f"{{stem}}.{found['form']}")
    if _KIT.fullmatch(media_type):
        return Type("tar")
    return _EXACT.get(media_type, Type("any"))


def is_foreign(media_type: str) -> bool:
    """Tell whether the bytes of a layer lie elsewhere than in the registry, by its media type."""
    return bool(_FOREIGN.match(media_type))


def is_archive(media_type: str) -> bool:
    """Tell whether a layer is packed, whatever it holds."""
    found = _MODEL_PACK.fullmatch(media_type)
    return found is not None and found["form"] is None
