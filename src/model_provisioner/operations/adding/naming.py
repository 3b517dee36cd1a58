"""What an entry is called, and how `models.yaml` writes its reference, where a user names nothing but a model."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from model_provisioner.config.paths import is_below
from model_provisioner.fetchers.listing import name_of
from model_provisioner.references.artifact_name import LATEST
from model_provisioner.references.reference import HubRef, LocalRef, ObjectRef, OciRef, OllamaRef
from model_provisioner.references.shards import split_names, split_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.references.reference import ModelRef

SUFFIXES = (".gguf", ".safetensors")
LONGEST = 100
"""Characters of a name that is made: files are named after it."""
_DROPPED = re.compile(r"-gguf$", re.IGNORECASE)


def names_for(ref: ModelRef) -> Iterator[str]:
    """Yield names for an entry of a reference, each valid and the first the best: of its file, folder or repository."""
    name = _valid(_spoken(ref)) or "model"
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _spoken(ref: ModelRef) -> str:
    if isinstance(ref, LocalRef):
        text = os.path.basename(ref.path.rstrip("/"))
    elif isinstance(ref, HubRef) and ref.path is None:
        return "-".join(filter(None, (_DROPPED.sub("", ref.repo.rpartition("/")[2]), ref.quantization)))
    elif isinstance(ref, OciRef | OllamaRef) and ref.path is None:
        last = (ref.repository if isinstance(ref, OciRef) else ref.model).rpartition("/")[2]
        return "-".join(filter(None, (last, None if ref.tag == LATEST else ref.tag)))
    elif isinstance(ref, ObjectRef):
        text = ref.key.rstrip("/").rpartition("/")[2] or ref.bucket
    else:
        text = name_of(ref)
    text = split_prefix(text) or text
    for suffix in SUFFIXES:
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
    return text


def _valid(text: str) -> str:
    """Return what of a text can be a name; nothing where that is too little to be one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:LONGEST].rstrip("-._")


def first_shard(path: str) -> str:
    """Return the path of the first shard of the split that a file belongs to, if it does; else the path itself."""
    names = split_names(path)
    return path if names is None else os.path.join(os.path.dirname(path), names[0])


def written(path: str, resolved: str, root: str, home: str) -> str:
    """Return the reference of a local file as a project in the folder `root` has it: for other machines too where it can.

    `path` is the path as it was typed, made absolute; `resolved` is the same without links above its last name.
    """
    if is_below(resolved, root):
        text = os.path.relpath(resolved, root)
        text = f"./{text}" if text.startswith("~") else text
    elif home and is_below(path, home) and os.path.normpath(path) == path:
        text = f"~/{os.path.relpath(path, home)}"
    else:
        text = resolved
    try:
        text.encode()
    except UnicodeEncodeError:  # YAML has no bytes that are no text
        return f"file://{quote_from_bytes(os.fsencode(resolved))}"
    return f"file:{text}"
