"""Where a handoff lies: what the template of an entry makes of its name and its engine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_provisioner.references.path_environment import Surroundings

_WORDS = ("runtime_dir", "name", "engine")
_ANY_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDER = re.compile(rf"\{{({'|'.join(_WORDS)})\}}")


@dataclass(frozen=True, slots=True)
class _Form:
    """A template, taken apart once for all the entries that have it."""

    unknown: str | None
    """The first placeholder that stands for nothing."""
    folder: str | None
    """What stands before the last slash, and the slash; None where that can't be told before the entry is known."""
    last: str
    """What stands behind it, for the operator `%`."""


class HandoffPaths:
    """The handoffs of one project. Most of them share a folder, which is looked for once."""

    def __init__(self, root: str, runtime_dir: str, surroundings: Surroundings) -> None:
        self._root, self._runtime_dir, self._surroundings = root, runtime_dir, surroundings
        self._forms: dict[str, _Form] = {}
        self._folders: dict[tuple[str, str], str] = {}

    def unknown(self, template: str) -> str | None:
        """Return the first placeholder of a template that stands for nothing, None where there is none."""
        return self._form(template).unknown

    def written(self, template: str, name: str, engine: str) -> str:
        """Return the absolute path that a template makes, with the links in it."""
        return self._surroundings.absolute(self._expand(template, name, engine), self._root)

    def place(self, template: str, name: str, engine: str) -> tuple[str, str]:
        """Return the folder of the handoff, without links, and its name in there, which a rename replaces and does not follow.

        Name and engine are valid ones: without a slash, and no `..`.
        """
        form = self._form(template)
        last = form.last % {"name": name, "engine": engine}
        if form.folder is None or last in {"", ".", ".."}:
            folder, last = os.path.split(self.written(template, name, engine))
            return self._surroundings.ask(folder), last
        folder = self._folders.get((form.folder, engine), "")
        if not folder:
            written = self.written(form.folder, "", engine)
            folder = self._folders[form.folder, engine] = self._surroundings.ask(written)
        return folder, last

    def _form(self, template: str) -> _Form:
        form = self._forms.get(template)
        if form is None:
            words = _ANY_PLACEHOLDER.findall(template)
            folder, slash, last = template.rpartition("/")
            shared = slash and "{name}" not in folder and "{runtime_dir}" not in last
            form = self._forms[template] = _Form(
                unknown=next((word for word in words if word not in _WORDS), None),
                folder=folder + slash if shared else None,
                last=_PLACEHOLDER.sub(r"%(\1)s", last.replace("%", "%%")) if shared else "",
            )
        return form

    def _expand(self, template: str, name: str, engine: str) -> str:
        values = {"runtime_dir": self._runtime_dir, "name": name, "engine": engine}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
