"""Whether a folder is a whole: every shard is there, none is left over, and there are weights in it at all.

Shards are named by an index (`model.safetensors.index.json`, a JSON object whose `weight_map` says for each tensor in which
file it is: https://huggingface.co/docs/transformers/big_models#sharded-checkpoints), or by their own names
(`model-00001-of-00003.safetensors`).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import UnsoundModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from model_provisioner.fs.fileset import FileSet, Member

_SHARD = re.compile(
    r"(?P<prefix>.*)-(?P<number>[0-9]{5,6})-of-(?P<count>[0-9]{5,6})(?P<suffix>(?:\.[A-Za-z0-9]+)?\.(?:safetensors|gguf|bin|pth?))",
    re.DOTALL,
)
_INDEX = re.compile(r"(?P<prefix>.*)(?P<suffix>\.safetensors)\.index(?:\.[A-Za-z0-9]+)?\.json", re.DOTALL)

_BESIDE = frozenset(
    {
        *(
            "cfg",
            "cff",
            "conf",
            "csv",
            "htm",
            "html",
            "ini",
            "json",
            "jsonl",
            "lock",
            "log",
            "md",
            "mdx",
            "rst",
            "tex",
            "toml",
        ),
        *("tsv", "txt", "xml", "yaml", "yml"),
        *("css", "gitattributes", "gitignore", "j2", "jinja", "jinja2", "js", "py", "sh", "template", "ts"),
        *("gif", "jpeg", "jpg", "pdf", "png", "svg", "webp"),
        *("bpe", "spm", "tekken", "tiktoken", "vocab"),
        *("sha256", "sig"),
    }
)
"""How the names of text, configuration, code, pictures, tokenizers and checksums end."""
_TOKENIZER = re.compile(r".*(?:token|sentencepiece|spiece|bpe).*\.model")
_LICENCES = ("license", "licence", "notice", "readme", "copying", "use_policy", "modelfile", "merges", "vocab")


@dataclass(frozen=True)
class Index:
    """What an index says: in which file each tensor is."""

    path: str
    """Its own, for messages."""
    shards: frozenset[str]
    """The names of the files in the folder that it names."""
    tensors: int
    """How many tensors it names."""


def check_whole(folder: FileSet, read_index: Callable[[Member], Mapping[str, str]]) -> dict[str, Index]:
    """Return the indexes of a folder, by name, each of whose shards is there; `read_index` returns the map of one.

    Raises `UnsoundModelError` for a shard that is missing or left over, and for a folder without weights.
    """
    names = {member.name for member in folder.members}
    if all(is_beside(name) for name in names):
        raise UnsoundModelError(
            "the folder holds no weights",
            where=folder.path,
            expected="a file of weights beside text, configuration, tokenizer and licence",
            found=", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
            fix="name the folder that holds the weights; where they were left out of a download, get them",
        )
    indexes = {
        member.name: _index(member, read_index(member)) for member in folder.members if _INDEX.fullmatch(member.name)
    }
    for index in indexes.values():
        for name in sorted(index.shards - names):
            raise _missing(name, folder.path, f"the shards that {os.path.basename(index.path)} names")
    _check_series(folder, names, indexes)
    return indexes


def is_beside(name: str) -> bool:
    """Tell whether a name is that of a text, a configuration, a picture, a tokenizer or a licence, and not of weights."""
    last = name.rpartition("/")[2].lower()
    _, dot, suffix = last.rpartition(".")
    if last.startswith(".") or (dot and suffix in _BESIDE) or _TOKENIZER.fullmatch(last):
        return True
    return not dot and last.startswith(_LICENCES)


def _index(member: Member, weights: Mapping[str, str]) -> Index:
    folder, slash, _ = member.name.rpartition("/")
    shards = frozenset(os.path.normpath(f"{folder}{slash}{shard}") for shard in set(weights.values()))
    return Index(member.path, shards, len(weights))


def _check_series(folder: FileSet, names: Collection[str], indexes: Mapping[str, Index]) -> None:
    """Refuse a file with a shard's name that neither an index nor a complete series has."""
    series: defaultdict[tuple[str, str, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        if found := _SHARD.fullmatch(name):
            series[found["prefix"], found["count"], found["suffix"]][int(found["number"])] = name
    indexed = {name for index in indexes.values() for name in index.shards}
    stems = {(found["prefix"], found["suffix"]): name for name in indexes if (found := _INDEX.fullmatch(name))}
    complete = {key for key, numbers in series.items() if _wanted(key, numbers) <= numbers.keys()}
    for key, numbers in sorted(series.items()):
        prefix, count, suffix = key
        wanted = _wanted(key, numbers)
        whole = wanted if key in complete else set()
        spare = [name for number, name in sorted(numbers.items()) if name not in indexed and number not in whole]
        if not spare:
            continue
        if index := stems.get((prefix, suffix)):
            raise _left_over(spare[0], folder.path, f"the shards that {index} names")
        other = next((each for each in sorted(complete) if (each[0], each[2]) == (prefix, suffix)), None)
        if other is not None:
            raise _left_over(spare[0], folder.path, f"the {int(other[1])} shards of {other[0]}-…-of-{other[1]}{suffix}")
        if wanted <= numbers.keys():
            raise _left_over(spare[0], folder.path, f"{int(count)} shards")
        width = len(spare[0]) - len(f"{prefix}--of-{count}{suffix}")
        first, gap, last = (
            f"{prefix}-{number:0{width}d}-of-{count}{suffix}"
            for number in (min(wanted), min(wanted - numbers.keys()), max(wanted))
        )
        raise _missing(gap, folder.path, f"{int(count)} shards, {first} to {last}")


def _wanted(key: tuple[str, str, str], numbers: Mapping[int, str]) -> set[int]:
    """Return the numbers of a series: from 1, or from 0 as a few programs count."""
    count = int(key[1])
    first = 0 if 0 in numbers else 1
    return set(range(first, first + max(1, count)))


def _missing(name: str, folder: str, expected: str) -> UnsoundModelError:
    return UnsoundModelError(
        f"a shard of the model is missing: {name}",
        where=folder,
        expected=expected,
        found="no such file",
        fix="get the shard again from where the others came from",
    )


def _left_over(name: str, folder: str, expected: str) -> UnsoundModelError:
    return UnsoundModelError(
        f"a shard is left over: {name}",
        where=folder,
        expected=expected,
        found="one more, which belongs to another version of the model",
        fix="move it out of the folder; or get the whole model again from one version",
    )
