"""The faults of one document: gathered while it is read, told all at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model_provisioner.errors import ConfigError, InputError

if TYPE_CHECKING:
    from model_provisioner.config.document import Document
    from model_provisioner.config.source_map import Path

MAX_FAULTS = 1000


class Faults:
    """Gathers faults by their place in a document; `len` is how many there are."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._faults = list(document.faults)
        self._untold = False

    def __len__(self) -> int:
        """Return how many were noted."""
        return len(self._faults)

    def note(self, path: Path, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        """Note a fault of what stands at `path`."""
        if len(self._faults) >= MAX_FAULTS:
            self._untold = True
            return
        self._faults.append(InputError(what, where=self._document.where(path), expected=expected, found=found, fix=fix))

    def check(self) -> None:
        """Raise `ConfigError` if there are any: in the order of the document."""
        if self._faults:
            faults = sorted(self._faults, key=self._line_of)
            if self._untold:
                what = "there are more faults than are told at once"
                faults.append(InputError(what, where=self._document.name, fix="mend the others first"))
            raise ConfigError(self._document.name, faults)

    def _line_of(self, fault: InputError) -> int:
        match = re.match(r":(\d+)", fault.where.removeprefix(self._document.name))
        return int(match[1]) if match else 0
