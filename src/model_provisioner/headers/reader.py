"""Read the headers of a model's files, whatever their format."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from model_provisioner.errors import UnsoundModelError
from model_provisioner.hashing.streaming import open_model, unreadable
from model_provisioner.headers.metadata import Metadata, check_split, combine
from model_provisioner.headers.whole import check_whole
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from model_provisioner.fs.fileset import FileSet, Member
    from model_provisioner.headers.whole import Index

Read = TypeVar("Read")

CONFIG_LIMIT = 16 << 20
INDEX_LIMIT = 32 << 20
"""In bytes: an index has a hundred for each tensor, and the largest models have some hundred thousand."""
POINTER = 1024
"""No pointer of Git LFS has more bytes."""


def read_metadata(files: FileSet) -> Metadata:
    """Read the headers of a model, but not its tensors. Of an unknown format, return empty metadata.

    Raises `UnsoundModelError` for a `.gguf` or `.safetensors` file that is not what its name says, and for shards that do
    not belong together.
    """
    if files.kind == "split":
        shards = [(member.name, member.path, _read_file(member)) for member in files.members]
        check_split(shards)
        return combine([each for _, _, each in shards])
    if files.kind == "folder":
        return _with_note_on_code(files, _read_folder(files))
    metadata = _read_file(files.members[0])
    if metadata.split is not None:  # a shard under another name, without the rest of its model
        check_split([(files.members[0].name, files.members[0].path, metadata)])
    return metadata


def _read_file(file: Member) -> Metadata:
    readers = {".gguf": _read_gguf, ".safetensors": _read_safetensors}
    return _opened(file, readers.get(os.path.splitext(file.name)[1].lower(), _read_unnamed))


def _read_gguf(fd: int, path: str, size: int) -> Metadata:
    from model_provisioner.headers.gguf import read_gguf  # a run of other models needs none of it

    return read_gguf(fd, path, size)


def _read_safetensors(fd: int, path: str, size: int) -> Metadata:
    from model_provisioner.headers.safetensors import read_safetensors  # as above

    return read_safetensors(fd, path, size)


def _read_unnamed(fd: int, path: str, size: int) -> Metadata:
    """Read a file whose name says nothing, as blobs of other tools."""
    if os.pread(fd, 4, 0) == b"GGUF":
        with suppress(UnsoundModelError):
            return _read_gguf(fd, path, size)
    return Metadata()


def _opened(file: Member, read: Callable[[int, str, int], Read]) -> Read:
    """Return what `read` returns of an open file of a model, its path and its size in bytes."""
    fd = open_model(file.path)
    try:
        _check_is_no_stand_in(fd, file.path)
        return read(fd, file.path, os.fstat(fd).st_size)
    except OSError as error:
        raise unreadable(file.path, error) from None
    finally:
        os.close(fd)


def _check_small(file: Member) -> None:
    """Raise `UnsoundModelError` for a file of a folder that is but a pointer to one: of a tokenizer, of weights."""
    fd = open_model(file.path)
    try:
        if os.fstat(fd).st_size <= POINTER:
            _check_is_no_pointer(fd, file.path)
    except OSError as error:
        raise unreadable(file.path, error) from None
    finally:
        os.close(fd)


def _check_is_no_stand_in(fd: int, path: str) -> None:
    """Raise `UnsoundModelError` for what git or a web server gives in the place of a model."""
    _check_is_no_pointer(fd, path)
    begin = os.pread(fd, 256, 0).lstrip()
    if begin.lower().startswith((b"<!doctype html", b"<html")):
        raise UnsoundModelError(
            "a web page stands in the place of the model",
            where=path,
            expected="a model",
            found=begin.decode(errors="replace").split("\n", 1)[0][:80],
            fix="get the file again, and look in a browser whether its address asks for a login or shows a page about it",
        )


def _check_is_no_pointer(fd: int, path: str) -> None:
    begin = os.pread(fd, POINTER, 0)
    if begin.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size ([0-9]{1,18})$", begin, re.MULTILINE)
        raise UnsoundModelError(
            "a Git LFS pointer stands in the place of the file",
            where=path,
            expected=f"the file itself, {int(size[1]):,} bytes" if size else "the file itself",
            found="the few lines of text that git keeps in its place",
            fix="install git-lfs, and run `git lfs pull` in the repository that it lies in",
        )


def _read_folder(files: FileSet) -> Metadata:
    from model_provisioner.headers.safetensors import combine_folder, read_adapter_config, read_transformers_config

    by_name = {member.name: member for member in files.members}
    for name, member in by_name.items():
        if not name.lower().endswith((".safetensors", ".gguf")):
            _check_small(member)
    indexes = check_whole(files, _read_index)
    weights = _read_weights(by_name, indexes)
    ggufs = [
        (name, member.path, _read_file(member)) for name, member in by_name.items() if name.lower().endswith(".gguf")
    ]
    config, adapter = by_name.get("config.json"), by_name.get("adapter_config.json")
    if adapter and not ggufs and (weights.kind == "adapter" if weights else not config):
        return combine_folder(read_adapter_config(_read_config(adapter), adapter.path), weights)
    if weights or config:
        described = None if config is None else read_transformers_config(_read_config(config), config.path)
        return combine_folder(described, weights)
    return _the_one_model(ggufs)


def _read_weights(files: Mapping[str, Member], indexes: Mapping[str, Index]) -> Metadata | None:
    """Return what the safetensors of a folder tell that an engine loads; None where there are none. All are checked."""
    from model_provisioner.headers.safetensors import describe, read_tensors

    found = {name: _opened(file, read_tensors) for name, file in files.items() if name.endswith(".safetensors")}
    if not found:
        return None
    chosen = _loaded(found, indexes)
    tensors = {name: tensor for shard in chosen for name, tensor in found[shard].items()}
    notes = []
    if twice := sum(len(found[shard]) for shard in chosen) - len(tensors):
        notes.append(f"{twice:,} of its tensors are in two files: each counts once")
    notes += [
        f"{name} names {index.tensors:,} tensors, and the headers of its files {len(tensors):,}"
        for name, index in indexes.items()
        if index.shards == set(chosen) and index.tensors != len(tensors)
    ]
    return replace(describe(tensors), notes=tuple(notes))


def _loaded(names: Collection[str], indexes: Mapping[str, Index]) -> list[str]:
    """Return which of a folder's safetensors an engine loads: some folders have the same weights twice, under other names."""
    for name in ("model.safetensors.index.json", *sorted(indexes)):
        if name in indexes:
            return sorted(indexes[name].shards)
    for usual in (r"model\.safetensors", r"model-[0-9]+-of-[0-9]+\.safetensors", r"model[^/]*\.safetensors", r"[^/]*"):
        if found := [name for name in names if re.fullmatch(usual, name)]:
            return found
    return list(names)


def _with_note_on_code(files: FileSet, metadata: Metadata) -> Metadata:
    """Add a note on the Python files of a folder, which run if an engine is allowed to trust remote code."""
    code = [member.name for member in files.members if member.name.endswith(".py")]
    if not code:
        return metadata
    note = f"it holds Python code, which an engine runs only if it is told to trust it: {', '.join(code[:5])}"
    return replace(metadata, notes=(*metadata.notes, note + ("" if len(code) <= 5 else f" and {len(code) - 5} more")))


def _the_one_model(ggufs: list[tuple[str, str, Metadata]]) -> Metadata:
    """Return the metadata of the only model in a folder, which may be split; empty metadata if there are several."""
    models = [each for each in ggufs if each[2].kind == "model"]
    names = split_names(models[0][1]) if models else None
    if names is not None and len(names) == len(models) > 1:
        check_split(models)
        return combine([each for _, _, each in models])
    return models[0][2] if len(models) == 1 else Metadata()


def _read_index(file: Member) -> dict[str, str]:
    from model_provisioner.headers.safetensors import read_index

    return read_index(_read_small(file, INDEX_LIMIT), file.path)


def _read_config(file: Member) -> bytes:
    return _read_small(file, CONFIG_LIMIT)


def _read_small(file: Member, limit: int) -> bytes:
    fd = open_model(file.path)
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            raise UnsoundModelError(
                f"{file.name} is too large",
                where=file.path,
                expected=f"at most {limit:,} bytes",
                found=f"{size:,} bytes",
                fix="get the file again from its source; or leave it out of the folder",
            )
        return os.pread(fd, limit, 0)
    except OSError as error:
        raise unreadable(file.path, error) from None
    finally:
        os.close(fd)
