"""What may stand under `mmproj` and `lora` in an entry: a reference, or one with its digest; of adapters also a list."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from model_provisioner.config.document import shown
from model_provisioner.config.entries import ROLES
from model_provisioner.config.expected import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.config.source_map import Path
    from model_provisioner.references.digest import Expected

FIELDS = ("model_ref", "expected_digest")
_FORMS = {
    "mmproj": "a reference, or a mapping with model_ref: and expected_digest:",
    "lora": "a reference, a mapping with model_ref: and expected_digest:, or a list of these",
}


class Fault(Protocol):
    """Notes a fault at a place of the document."""

    def __call__(self, path: Path, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Form:
    """A companion as the file has it."""

    role: str
    place: Path
    """Where its reference stands."""
    ref: str
    expected: Expected | None = None


def companion_forms(
    base: Path, fields: dict[str, Any], fault: Fault, digest: Callable[[Path, dict[str, Any]], Expected | None]
) -> list[Form]:
    """Return the companions of an entry or of the defaults, and note their faults.

    `digest` reads the `expected_digest` of a mapping at a place.
    """
    found = []
    for role in ROLES:
        value, place = fields.get(role), (*base, role)
        if value is None:
            continue
        several = isinstance(value, list) and role == "lora"
        for at, each in (
            [((*place, number), each) for number, each in enumerate(value)] if several else [(place, value)]
        ):
            if isinstance(each, str):
                found.append(Form(role=role, place=at, ref=each))
            elif isinstance(each, dict):
                found += _from_mapping(role, at, each, fault, digest)
            else:
                fix = (
                    "name one file: a model has one projector" if isinstance(each, list) else "write a text, in quotes"
                )
                fault(at, f"{role} has the wrong type", expected=_FORMS[role], found=short(each), fix=fix)
    return found


def _from_mapping(
    role: str,
    place: Path,
    value: dict[str, Any],
    fault: Fault,
    digest: Callable[[Path, dict[str, Any]], Expected | None],
) -> list[Form]:
    for name in [name for name in value if name not in FIELDS]:
        near = difflib.get_close_matches(name, FIELDS, n=1)
        fault(
            (*place, name),
            f"unknown field {shown(name)!r}",
            expected="one of " + ", ".join(FIELDS),
            found=shown(name),
            fix=f"write {near[0]}" if near else "remove it",
        )
    expected = digest(place, value)
    if "model_ref" not in value:
        fault(place, "model_ref is missing", fix=f'add   model_ref: "file:models/{role}.gguf"')
        return []
    if not isinstance(value["model_ref"], str):
        fix = "put it in quotes"
        found = short(value["model_ref"])
        fault((*place, "model_ref"), "model_ref has the wrong type", expected="a text", found=found, fix=fix)
        return []
    return [Form(role=role, place=(*place, "model_ref"), ref=value["model_ref"], expected=expected)]
