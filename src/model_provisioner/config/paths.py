"""The paths of a configuration: its own, that of the store, and where the handoff of each entry lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.references.path_environment import PathEnvironment

DEFAULT_CACHE_DIR = "~/.cache/models"
DEFAULT_HANDOFF = "{runtime_dir}/engines/{engine}.json"

_PLACEHOLDER = re.compile(r"\{(runtime_dir|name|engine)\}")
_UNKNOWN_PLACEHOLDER = re.compile(rf"(?!{_PLACEHOLDER.pattern})\{{[^{{}}]*\}}")


def asked_cache_dir(cache_dir: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the cache folder that wins over the one in the file."""
    return cache_dir or environ.get("MODEL_PROVISIONER_CACHE_DIR")


def real_path(path: str) -> str:
    """Return a configuration's path as the records name it, however it is reached: without links but for its last name."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def shown_path(path: str) -> str:
    """Return a path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("..") else path


def unknown_placeholder(template: str) -> str | None:
    """Return the first placeholder in the template of a handoff that means nothing, None where there is none."""
    found = _UNKNOWN_PLACEHOLDER.search(template)
    return found and found[0]


@dataclass(frozen=True, slots=True)
class _Template:
    """A template, split once for all the entries that share it."""

    folder: str | None
    """What stands before the last slash, and the slash; None where it differs between entries of one engine."""
    last: str
    """What stands behind it, for the operator `%`."""

    @staticmethod
    def of(text: str) -> _Template:
        folder, slash, last = text.rpartition("/")
        if not slash or "{name}" in folder or "{runtime_dir}" in last:
            return _Template(None, "")
        return _Template(folder + slash, _PLACEHOLDER.sub(r"%(\1)s", last.replace("%", "%%")))


class HandoffPaths:
    """The handoffs of one project. Most of them share a folder, whose links are followed once."""

    def __init__(self, root: str, runtime_dir: str, environment: PathEnvironment) -> None:
        self._root, self._runtime_dir, self._environment = root, runtime_dir, environment
        self._inside = environment.ask(root).rstrip("/") + "/"
        self._templates: dict[str, _Template] = {}
        self._folders: dict[tuple[str, str], str] = {}

    def written(self, template: str, name: str, engine: str) -> str:
        """Return the absolute path that a template makes, with the links in it."""
        values = {"runtime_dir": self._runtime_dir, "name": name, "engine": engine}
        return self._environment.absolute(_PLACEHOLDER.sub(lambda found: values[found[1]], template), self._root)

    def is_inside(self, folder: str) -> bool:
        """Tell whether a folder, given without links, is the project's or lies in it."""
        return f"{folder}/".startswith(self._inside)

    def place(self, template: str, name: str, engine: str) -> tuple[str, str]:
        """Return the folder of the handoff, without links, and its name there, which a rename replaces and does not follow.

        Name and engine are valid ones: without a slash, and no `..`.
        """
        parts = self._templates.get(template)
        if parts is None:
            parts = self._templates[template] = _Template.of(template)
        last = parts.last % {"name": name, "engine": engine}
        if parts.folder is None or last in {"", ".", ".."}:
            folder, last = os.path.split(self.written(template, name, engine))
            return self._environment.ask(folder), last
        key = parts.folder, engine
        if key not in self._folders:
            self._folders[key] = self._environment.ask(self.written(parts.folder, "", engine))
        return self._folders[key], last
