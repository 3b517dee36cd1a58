"""The paths of a configuration: its own, that of the store, and where the handoff of each entry lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.settings import folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.references.path_environment import PathEnvironment

DEFAULT_CACHE_DIR = "~/.cache/models"
DEFAULT_RUNTIME_DIR = ".runtime"
DIGESTS, PROVENANCE = "digests", "provenance"
"""The folders in `runtime_dir` of the `.sha256` targets, and of the log of verifications."""
DEFAULT_HANDOFF = "{runtime_dir}/engines/{engine}.json"

_PLACEHOLDER = re.compile(r"\{(runtime_dir|name|engine)\}")
_UNKNOWN_PLACEHOLDER = re.compile(rf"(?!{_PLACEHOLDER.pattern})\{{[^{{}}]*\}}")


def asked_cache_dir(cache_dir: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the cache folder that wins over the one in the file. Raises `SettingError`."""
    return cache_dir or folder("MODEL_PROVISIONER_CACHE_DIR", environ)


def asked_runtime_dir(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the user's own folder for what a run writes, which wins over the one in the file and may lie anywhere.

    Raises `SettingError`.
    """
    return folder("MODEL_PROVISIONER_RUNTIME_DIR", environ)


def real_path(path: str) -> str:
    """Return a configuration's path as the records name it, however it is reached: without links but for its last name."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def shown_path(path: str) -> str:
    """Return a path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("..") else path


def is_below(path: str, top: str) -> bool:
    """Tell whether a path is a folder or is written below it; no link is looked at. Nothing is below an empty one."""
    return bool(top) and f"{path}/".startswith(f"{top.rstrip('/')}/")


def path_in(top: str, path: str, environment: PathEnvironment) -> str | None:
    """Return an absolute path as one below the folder `top`, given without links; None where it does not lie there.

    A link above `top` is followed, since `top` may have several names; one below it is not, since none may be there.
    """
    if is_below(path, top):
        return path
    end = path.find("/", 1)
    while end != -1:
        if environment.ask(path[:end]) == top:
            return top.rstrip("/") + path[end:]
        end = path.find("/", end + 1)
    return top if environment.ask(path) == top else None


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
    """The handoffs of one project. Most of them share a folder, which is made out once.

    They lie in the project, or in the user's own folder for what a run writes. Links above these are followed, and none
    below: whoever opens a folder there refuses one.
    """

    def __init__(self, root: str, runtime_dir: str, environment: PathEnvironment) -> None:
        self._root, self._runtime_dir, self._environment = root, runtime_dir, environment
        self.tops = (root,) if is_below(runtime_dir, root) else (root, runtime_dir)
        self._templates: dict[str, _Template] = {}
        self._folders: dict[tuple[str, str], str] = {}

    def written(self, template: str, name: str, engine: str) -> str:
        """Return the absolute path that a template makes."""
        values = {"runtime_dir": self._runtime_dir, "name": name, "engine": engine}
        path = self._environment.absolute(_PLACEHOLDER.sub(lambda found: values[found[1]], template), self._root)
        return path[1:] if path.startswith("//") else path  # two slashes are a root of their own to normpath

    def is_inside(self, folder: str) -> bool:
        """Tell whether a folder that `place` returned is one in which handoffs may lie."""
        return any(is_below(folder, top) for top in self.tops)

    def place(self, template: str, name: str, engine: str) -> tuple[str, str]:
        """Return the folder of the handoff, and its name there, which a rename replaces and does not follow.

        Name and engine are valid ones: without a slash, and no `..`.
        """
        parts = self._templates.get(template)
        if parts is None:
            parts = self._templates[template] = _Template.of(template)
        last = parts.last % {"name": name, "engine": engine}
        if parts.folder is None or last in {"", ".", ".."}:
            folder, last = os.path.split(self.written(template, name, engine))
            return self._inside(folder), last
        key = parts.folder, engine
        if key not in self._folders:
            self._folders[key] = self._inside(self.written(parts.folder, "", engine))
        return self._folders[key], last

    def _inside(self, folder: str) -> str:
        found = (path_in(top, folder, self._environment) for top in self.tops)
        folder = next((path for path in found if path is not None), folder)
        self._environment.ask(folder)  # what is kept of the configuration ends where it becomes a link
        return folder
