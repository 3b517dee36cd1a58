"""The names of a split GGUF: `PREFIX-00001-of-00003.gguf`, as llama.cpp writes and looks for them."""

from __future__ import annotations

import os
import re

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
