"""The faults of a document: what a message may tell of a value, where it stands, and all of them in one error."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ConfigError, InputError, printable
from model_provisioner.references.shown import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.config.source_map import Path, SourceMap

MAX_FAULTS = 1000
MAX_SHOWN = 80
MOST_FAULTS = f"at most {MAX_FAULTS:,}"
TOO_MANY = "there are more faults than are told at once"

_NETWORK = re.compile(r"https?:/*|://", re.IGNORECASE)
_LONGEST = 4096
"""Characters of a text that are looked through for credentials; all that are told of it are among the first of them."""


class Faults:
    """Gathers the faults of one document, to raise them all at once."""

    def __init__(self, name: str, source_map: SourceMap, found: Iterable[InputError] = ()) -> None:
        """Take the name and the source map of the document, and what was found of it before."""
        self._name, self._source_map, self._faults = name, source_map, list(found)

    def note(self, path: Path, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        """Note a fault of what stands at `path`."""
        if len(self._faults) <= MAX_FAULTS:
            where = place(self._name, self._source_map.line(path), path)
            self._faults.append(InputError(what, where=where, expected=expected, found=found, fix=fix))

    def note_error(self, path: Path, error: InputError) -> None:
        """Note that an error is of what stands at `path`."""
        self.note(path, error.what, expected=error.expected, found=error.found, fix=error.fix)

    def check(self) -> None:
        """Raise `ConfigError` if there are any, in the order of the document."""
        if self._faults:
            faults = sorted(self._faults, key=self._line_of)
            if len(faults) > MAX_FAULTS:
                faults[MAX_FAULTS:] = [
                    InputError(
                        TOO_MANY, where=self._name, expected=MOST_FAULTS, found="more", fix="fix the others first"
                    )
                ]
            raise ConfigError(self._name, faults)

    def _line_of(self, fault: InputError) -> int:
        match = re.match(r":(\d+)", fault.where.removeprefix(self._name))
        return int(match[1]) if match else 0


def place(name: str, line: int, path: Path) -> str:
    """Return the place of a value in words: the name of its file, its line and the way to it."""
    way = " → ".join(shown(str(step)) for step in path)
    return f"{name}:{line}" + (f", {way}" if way else "")


def cut(text: str) -> str:
    """Return as much of a text of the file as a message may tell: a line of it, of a URL its scheme, and no credentials."""
    short = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    if network := _NETWORK.search(short):
        return short[: network.end()] + "…"
    credentials = CREDENTIALS.search(text, 0, _LONGEST)
    return text[: credentials.start()][: MAX_SHOWN - 1] + "…" if credentials else short


def shown(text: str) -> str:
    """Return what `cut` leaves of a text, safe to print."""
    return printable(cut(text))


class _Repr(reprlib.Repr):
    """A `repr` that stays short, whatever aliases make of the value, and tells nothing of a URL but its scheme."""

    def repr_str(self, x: str, level: int) -> str:
        return repr(cut(x))


def short(value: Any) -> str:
    """Return what a message may tell of a value: a line at the most."""
    text = printable(_Repr().repr(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "…"
