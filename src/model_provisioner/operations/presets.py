"""The INI file that `llama-server --models-preset` reads: a section for each model, with the options that load it.

The format is that of llama.cpp's `tools/server/README.md`, "Model presets", as its parser (`common/preset.cpp`) takes it: a
value ends at its line or at a comment, and nothing is quoted or escaped.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import NotCurrentError, ProvisionError
from model_provisioner.headers.compatibility import opens_folders
from model_provisioner.operations.path import files_to_load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet

_MADE_BY = "; made by model-provisioner"
_HEAD = f"{_MADE_BY}: `report --presets` makes it anew\nversion = 1\n"
_NO_VALUE = re.compile(r"[;#\r\n]|^[ \t]|[ \t]\Z")
_SEPARATOR = ","
"""Between the adapters of a model."""


@dataclass(frozen=True)
class Presets:
    """The file, and which models of llama.cpp are not in it."""

    data: bytes
    names: tuple[str, ...]
    """Of the models that are in it."""
    left_out: dict[str, ProvisionError]
    """Why, by name."""


def presets(work: Workspace) -> Presets:
    """Return the models for llama.cpp that are handed off and current."""
    sections, left_out = {}, {}
    for name, entry in work.config.entries.items():
        if opens_folders(entry.engine):
            continue  # it is for another engine
        try:
            sections[name] = "\n".join(_section(work, entry, files_to_load(work, entry)))
        except ProvisionError as error:
            left_out[name] = error
    text = "\n".join([_HEAD, *(f"{sections[name]}\n" for name in sorted(sections))])
    return Presets(os.fsencode(text), tuple(sections), left_out)


def is_presets(data: bytes) -> bool:
    """Tell of the first bytes of a file whether it is one of ours."""
    return data.startswith(_MADE_BY.encode())


def _section(work: Workspace, entry: Entry, files: FileSet) -> Iterator[str]:
    row = work.catalog.get(work.config.root, entry.name)
    yield f"[{entry.name}]"
    if row is not None and row.metadata is not None and row.metadata.context_length is not None:
        # Only as a comment: without the option llama.cpp takes the model's own, or as much of it as fits into memory.
        yield f"; ctx-size = {row.metadata.context_length}"
    yield f"model = {_value(entry, files.path)}"
    by_role: dict[str, list[str]] = {}
    for each in files.companions:
        by_role.setdefault(each.role, []).append(_value(entry, each.files.path, forbidden=_SEPARATOR))
    for role, paths in by_role.items():
        yield f"{role} = {_SEPARATOR.join(paths)}"


def _value(entry: Entry, path: str, forbidden: str = "\n") -> str:
    """Return a path as a value of the file. Raises `NotCurrentError` where it can't be one."""
    if not _NO_VALUE.search(path) and forbidden not in path:
        return path
    raise NotCurrentError(
        f"{entry.name} can't be named in a file of presets",
        where=f"{entry.handoff}",
        expected="a path without ; # , and line breaks, and without a blank at either end",
        found=path,
        fix="rename the file or its folder",
    )
