"""Which line of a file each of its values stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple["str | int", ...]

Places: TypeAlias = "dict[str | int, Place]"
"""What is in a mapping or a list, by name or number."""
Place: TypeAlias = "int | tuple[int, Places]"
"""The line of a value; of a mapping or a list also the places of what is in it."""


class Lines(Mapping[Path, int]):
    """The lines of all values of a file, by their paths.

    Kept as a tree beside that of the values: a path for each of them would cost more than to read the file.
    """

    def __init__(self, top: Place | None = None) -> None:
        self._top = top

    def nearest(self, path: Path) -> int:
        """Return the line of a value, or of the nearest one around it that stands in the file."""
        *_, place = self._way(path)
        return line_of(place)

    def __getitem__(self, path: Path) -> int:
        way = self._way(path)
        if self._top is None or len(way) <= len(path):
            raise KeyError(path)
        return line_of(way[-1])

    def __iter__(self) -> Iterator[Path]:
        left: list[tuple[Path, Place]] = [] if self._top is None else [((), self._top)]
        while left:
            path, place = left.pop()
            yield path
            if not isinstance(place, int):
                left += (((*path, step), inner) for step, inner in place[1].items())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _way(self, path: Path) -> list[Place]:
        """Return the places on the way of `path`, as far as they stand in the file."""
        way = [1 if self._top is None else self._top]
        for step in path:
            last = way[-1]
            if isinstance(last, int) or step not in last[1]:
                break
            way.append(last[1][step])
        return way


def line_of(place: Place) -> int:
    """Return the line of a place."""
    return place if isinstance(place, int) else place[0]
