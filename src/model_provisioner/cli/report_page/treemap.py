"""The layout of a treemap: a tile for each size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Tile:
    """A rectangle, in the units of the area."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], width: float, height: float) -> list[Tile]:
    """Return a tile for each of the positive `sizes`, which fall; together they fill the area.

    After Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): a row along the shorter side takes the next size as long
    as its worst tile gets no longer by that.
    """
    scale = width * height / sum(sizes) if sizes else 0.0
    areas = [size * scale for size in sizes]
    tiles: list[Tile] = []
    x = y = 0.0
    while areas:
        side = min(width, height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
            count += 1
        row, areas = areas[:count], areas[count:]
        depth = sum(row) / side
        along = 0.0
        for area in row:
            length = area / depth
            if width >= height:
                tiles.append(Tile(x, y + along, depth, length))
            else:
                tiles.append(Tile(x + along, y, length, depth))
            along += length
        if width >= height:
            x, width = x + depth, max(width - depth, 1e-9)
        else:
            y, height = y + depth, max(height - depth, 1e-9)
    return tiles


def _worst(row: Sequence[float], side: float) -> float:
    """Return how many times as long as wide the worst tile of a row along `side` is."""
    total = sum(row)
    return max(side * side * row[0] / (total * total), total * total / (side * side * row[-1]))
