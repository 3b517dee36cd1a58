"""The one gate between text and HTML: what is not `Markup` already is made harmless on its way in."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, LiteralString

from model_provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that may stand in a page as it is. Only `fill` and `joined` make it, of templates that stand in our code."""

    text: str


NOTHING = Markup("")


def fill(template: LiteralString, /, **values: str | int | Markup) -> Markup:
    """Return the template with its `{names}` replaced: by text, escaped for content and quoted attributes, or by markup.

    Characters of a text that could move, hide or turn round other text are shown as escape sequences.
    """
    return Markup(template.format_map({name: _safe(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup], between: LiteralString = "") -> Markup:
    """Return markup one after the other."""
    return Markup(between.join(part.text for part in parts))


def _safe(value: str | int | Markup) -> str:
    return value.text if isinstance(value, Markup) else escape(printable(str(value)))
