"""Which line of a file each of its values stands in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Path = tuple["str | int", ...]

Places: TypeAlias = "dict[str | int, Place]"
"""What is in a mapping or a list, by name or number."""
Place: TypeAlias = "int | tuple[int, Places]"
"""The line of a value; of a mapping or a list also the places of what is in it."""


@dataclass(frozen=True)
class SourceMap:
    """The lines of all values of a file, as a tree beside theirs: a path for each would cost more than to read the file."""

    top: Place | None = None

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest one around it that stands in the file."""
        place = 1 if self.top is None else self.top
        for step in path:
            if isinstance(place, int) or step not in place[1]:
                break
            place = place[1][step]
        return line_of(place)


def line_of(place: Place) -> int:
    """Return the line of a place."""
    return place if isinstance(place, int) else place[0]
