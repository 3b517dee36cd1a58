"""The form of a document: pydantic finds the faults, we word them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from model_provisioner.config.document import shown
from model_provisioner.config.expected import short
from model_provisioner.config.faults import MAX_FAULTS
from model_provisioner.config.schema import Cache, Network
from model_provisioner.config.schema import Entry as EntryForm
from model_provisioner.config.schema import Signature as SignatureForm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.config.faults import Faults
    from model_provisioner.config.source_map import Path


def validate(model: Any, data: Any, base: Path, faults: Faults) -> set[str]:
    """Note the faults in the form of `data`; return the names of the fields that have one."""
    from pydantic import ValidationError

    try:
        model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        for found in errors[: MAX_FAULTS + 1]:
            place: Path = tuple(step for step in found["loc"] if step != "[key]")
            _word((*base, *place), found, _fields_around(model, place), faults)
        return {str(found["loc"][0]) for found in errors if found["loc"]}
    return set()


def _word(path: Path, error: Any, fields: Iterable[str], faults: Faults) -> None:
    kind, value, name = error["type"], error["input"], shown(str(path[-1])) if path else ""
    if kind == "missing":
        faults.note(path[:-1], f"{name} is missing", fix=f"add   {name}: {_EXAMPLES.get(name, '…')}")
    elif kind == "extra_forbidden":
        near = difflib.get_close_matches(name, list(fields), n=1)
        faults.note(
            path,
            f"unknown field {name!r}",
            expected="one of " + ", ".join(fields),
            found=name,
            fix=f"write {near[0]}" if near else "remove it",
        )
    elif kind == "string_pattern_mismatch":
        what, expected = _PATTERNS["engine" if name == "engine" else "models"]
        faults.note(path, what, expected=expected, found=short(value), fix="choose a name of these characters")
    else:
        expected, fix = _TYPES.get(kind, ("another value", "see docs/reference/models-yaml.md"))
        what = f"{name or 'the file'} has the wrong type"
        if kind == "literal_error":
            what, expected = f"{name} has no such value", error["ctx"]["expected"]
        if kind == "string_type" and isinstance(value, bool | int | float):
            fix = "put it in quotes: without, YAML takes it for a " + (
                "boolean" if isinstance(value, bool) else "number"
            )
        faults.note(path, what, expected=expected, found=short(value), fix=fix)


_PATTERNS = {
    "models": (
        "not a name for a model",
        "a letter or digit, then letters, digits, dots, underscores and hyphens",
    ),
    "engine": (
        "not a name for an engine",
        "a small letter, then small letters, digits, underscores and hyphens",
    ),
}
_EXAMPLES = {"model_ref": '"file:models/tiny.gguf"', "models": "{}"}
_TYPES = {
    "string_type": ("a text", "write a text, in quotes if need be"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "dict_type": ("a mapping", "write names and values, indented"),
    "model_type": ("a mapping", "write names and values, indented"),
    "list_type": ("a list", "write [a, b] or one line '- a' for each"),
    "literal_error": ("", "write one of these"),
}


def _fields_around(model: Any, place: Path) -> list[str]:
    """Return the names that are known beside the last step of `place`."""
    if len(place) > 1 and place[-2] == "signature":
        return list(SignatureForm.model_fields)
    if len(place) == 3 and place[0] == "models":
        return list(EntryForm.model_fields)
    parts: dict[str, Any] = {"network": Network, "cache": Cache}
    return list((parts.get(str(place[0]), model) if len(place) == 2 else model).model_fields)
