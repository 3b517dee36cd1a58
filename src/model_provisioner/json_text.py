"""JSON that others wrote, within bounds: a few megabytes of it can make values that take a hundred times as much memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model_provisioner.fs.read import JSON_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MARKS = 1 << 21
"""Commas, colons and opening brackets: each makes a value or a name. So many take up to 350 MB, whatever they are."""


def parse_json(data: bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON text in UTF-8. Raises `ValueError`, also for one of too many bytes or values."""
    if len(data) > JSON_LIMIT:
        raise ValueError(f"{len(data):,} bytes of JSON, and at most {JSON_LIMIT:,} are read")
    if (marks := sum(map(data.count, b",:[{"))) > MAX_MARKS:
        raise ValueError(f"up to {marks:,} values and names, and at most {MAX_MARKS:,} are read")
    try:
        # As a text: of bytes it would take UTF-16 and a BOM, too, which engines refuse.
        return json.loads(data.decode(), object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError("the values nest too deeply") from None
