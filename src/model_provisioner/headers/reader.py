"""Read the headers of a model's files, whatever their format."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.errors import UnsoundModelError
from model_provisioner.hashing.streaming import open_model, unreadable
from model_provisioner.headers.metadata import Metadata, check_split, combine
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from model_provisioner.fs.fileset import FileSet, Member

CONFIG_LIMIT = 1 << 20


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
    from model_provisioner.headers.gguf import read_gguf
    from model_provisioner.headers.safetensors import read_safetensors

    suffix = os.path.splitext(file.name)[1].lower()
    fd = open_model(file.path)
    try:
        size = os.fstat(fd).st_size
        if suffix == ".gguf":
            return read_gguf(fd, file.path, size)
        if suffix == ".safetensors":
            return read_safetensors(fd, file.path, size)
        if os.pread(fd, 4, 0) == b"GGUF":  # blobs of other tools have no suffix
            try:
                return read_gguf(fd, file.path, size)
            except UnsoundModelError:
                return Metadata()
        return Metadata()
    except OSError as error:
        raise unreadable(file.path, error) from None
    finally:
        os.close(fd)


def _read_folder(files: FileSet) -> Metadata:
    from model_provisioner.headers.safetensors import combine_folder, read_adapter_config, read_transformers_config

    weights = {member.name: _read_file(member) for member in files.members if member.name.endswith(".safetensors")}
    ggufs = [
        (member.name, member.path, _read_file(member))
        for member in files.members
        if member.name.lower().endswith(".gguf")
    ]
    config = next((member for member in files.members if member.name == "config.json"), None)
    adapter = next((member for member in files.members if member.name == "adapter_config.json"), None)
    if adapter and not ggufs and (all(each.kind == "adapter" for each in weights.values()) if weights else not config):
        return combine_folder(read_adapter_config(_read_small(adapter), adapter.path), list(weights.values()))
    if weights or config:
        described = None if config is None else read_transformers_config(_read_small(config), config.path)
        # Some repositories have the same weights twice, under the names of two loaders.
        usual = [each for name, each in weights.items() if re.fullmatch(r"model[^/]*\.safetensors", name)]
        return combine_folder(described, usual or list(weights.values()))
    return _the_one_model(ggufs)


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


def _read_small(file: Member) -> bytes:
    fd = open_model(file.path)
    try:
        size = os.fstat(fd).st_size
        if size > CONFIG_LIMIT:
            raise UnsoundModelError(
                f"{file.name} is too large",
                where=file.path,
                expected=f"at most {CONFIG_LIMIT:,} bytes",
                found=f"{size:,} bytes",
            )
        return os.pread(fd, CONFIG_LIMIT, 0)
    except OSError as error:
        raise unreadable(file.path, error) from None
    finally:
        os.close(fd)
