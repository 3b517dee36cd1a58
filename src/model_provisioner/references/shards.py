"""The names of a split GGUF: `PREFIX-00001-of-00003.gguf`, as llama.cpp writes and looks for them."""

from __future__ import annotations

import os
import re

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.shown import shown

_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)


def split_names(path: str) -> list[str] | None:
    """Return the names of all shards of a split, given the path of one; None where it is not a shard's name."""
    found = _SHARD.fullmatch(os.path.basename(path))
    if found is None or int(found["count"]) == 0:
        return None
    prefix, count = found["prefix"], found["count"]
    return [f"{prefix}-{number:05d}-of-{count}.gguf" for number in range(1, int(count) + 1)]


def split_prefix(name: str) -> str | None:
    """Return what all shards of a split begin with, given the name of one; None where it is not a shard's name."""
    found = _SHARD.fullmatch(name)
    return None if found is None else found["prefix"]


def check_first_shard(text: str, path: str) -> None:
    """Refuse a reference by another shard than the first, as `discover` refuses a local one."""
    name = path.rpartition("/")[2]
    names = split_names(name)
    if names is not None and name != names[0]:
        raise InvalidReferenceError(
            "a split is referenced by its first shard",
            where=shown(text),
            expected=names[0],
            found=name,
            fix=f"name {names[0]} in its place: all shards come with it",
        )
