"""The GGUF files that a repository or folder offers, by the quantization that their names say.

Publishers name a file after its quantization (`Qwen3-8B-Q4_K_M.gguf`, `model.i1-IQ2_XXS.gguf`), or a folder of shards
(`BF16/Qwen3-8B-BF16-00001-of-00002.gguf`). Projectors and importance matrices lie beside the models and are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Collection

_NAME = re.compile(
    r"(?<![a-z0-9])(?P<name>(?:ud-)?(?:i?q[1-8](?:_[a-z0-9]+)*|tq[12]_0|mxfp4(?:_moe)?|nvfp4|bf16|fp?16|fp?32))(?![a-z0-9])",
    re.IGNORECASE,
)
_WORDS = {"FP16": "F16", "FP32": "F32"}
_IMATRIX = re.compile(r"imatrix(?:[^a-z0-9]|$)", re.IGNORECASE)
_PROJECTOR = re.compile(r"(?:^|[^a-z0-9])mmproj(?:[^a-z0-9]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Offer:
    """One GGUF, or all shards of a split."""

    names: tuple[str, ...]
    """The paths of its files, the first shard first."""
    quantization: str | None
    """In upper case; None where the name says none."""
    kind: Literal["model", "mmproj", "imatrix"]


def offers(names: Collection[str]) -> list[Offer]:
    """Return what GGUFs there are among the paths of files, sorted by name. A split counts as one, whole or not."""
    ggufs = {name for name in names if name.lower().endswith(".gguf")}
    found: list[Offer] = []
    seen: set[str] = set()
    for name in sorted(ggufs):
        if name in seen:
            continue
        folder, slash, _ = name.rpartition("/")
        shards = tuple(path for each in split_names(name) or () if (path := f"{folder}{slash}{each}") in ggufs) or (
            name,
        )
        seen.update(shards)
        found.append(Offer(shards, quantization_of(name), kind_of_gguf(name)))
    return found


def quantization_of(path: str) -> str | None:
    """Return the quantization that the path of a GGUF names, in upper case: its file's name, else its folder's."""
    for part in reversed(path.split("/")):
        if found := _NAME.findall(part):
            name: str = found[-1].upper()
            return _WORDS.get(name, name)
    return None


def quantization_named(text: str) -> str | None:
    """Return the quantization that a text is the name of, in upper case; None where it is none."""
    return quantization_of(text) if _NAME.fullmatch(text) else None


def kind_of_gguf(path: str) -> Literal["model", "mmproj", "imatrix"]:
    """Return what a GGUF is by its name."""
    name = path.rpartition("/")[2]
    if _PROJECTOR.search(name):
        return "mmproj"
    # Of `x-imatrix-Q4_K_M.gguf` the matrix helped to make the model.
    return "imatrix" if _IMATRIX.search(name) and quantization_of(name) is None else "model"
