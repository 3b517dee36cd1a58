"""The section of the page that shows what takes the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.cli.report_page.models import BADGES
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.operations.report import DiskUse, Report

WIDTH, HEIGHT = 1000, 320
LARGEST = 30
"""How many models the picture of the disk names; the rest is one tile."""


def disk(report: Report) -> Markup:
    """Return what takes the disk, as a treemap and a list."""
    uses = report.disk_use()
    if not uses:
        return NOTHING
    largest, others = uses[:LARGEST], uses[LARGEST:]
    rest = sum(use.size for use in others)
    shown = [(use.size, BADGES[use.stands][0]) for use in largest]
    shown += [(rest, "idle")] if rest else []
    order = sorted(range(len(shown)), key=lambda n: -shown[n][0])
    tiles = dict(zip(order, squarify([shown[n][0] for n in order], WIDTH, HEIGHT), strict=True))
    rects = joined(
        fill(
            '<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}"/>{label}',
            kind=kind,
            x=f"{tile.x:.1f}",
            y=f"{tile.y:.1f}",
            w=f"{tile.width:.1f}",
            h=f"{tile.height:.1f}",
            label=_label(n + 1, largest[n].names[0], tile) if n < len(largest) else NOTHING,
        )
        for n, (_, kind) in enumerate(shown)
        for tile in [tiles[n]]
    )
    total = sum(size for size, _ in shown)
    items = [_use(n + 1, use, total, largest[0].size) for n, use in enumerate(largest)]
    return fill(
        '<figure><svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="disk-t disk-d">'
        '<title id="disk-t">Disk use by model</title><desc id="disk-d">{words}</desc>{rects}</svg>\n'
        "<figcaption>{caption}</figcaption></figure>\n"
        '<ol class="uses">\n{items}\n</ol>{others}',
        width=WIDTH,
        height=HEIGHT,
        words="A rectangle for each model, as large as its share of the disk use; the numbers are those of the list below. "
        f"The largest is {', '.join(largest[0].names)} with {human(largest[0].size)} of {human(total)}.",
        rects=rects,
        caption=fill(
            "<span>{size} in all; a file that several models use counts once.</span>{keys}",
            size=human(report.size),
            keys=_keys(shown),
        ),
        items=joined(items, "\n"),
        others=fill('<p class="note">{count} more take {size}.</p>', count=f"{len(others):,}", size=human(rest))
        if others
        else NOTHING,
    )


def _label(number: int, name: str, tile: Tile) -> Markup:
    """Return the number of a tile, and its name, as far as there is room."""
    if tile.width < 62 or tile.height < 52:
        return NOTHING
    x = f"{tile.x + 14:.1f}"
    label = fill('<text x="{x}" y="{y}">{number}</text>', x=x, y=f"{tile.y + 42:.1f}", number=number)
    if tile.height < 90 or tile.width < 28 + 14 * len(name):
        return label
    return joined(
        (label, fill('<text class="name" x="{x}" y="{y}">{name}</text>', x=x, y=f"{tile.y + 74:.1f}", name=name))
    )


def _keys(shown: Sequence[tuple[int, str]]) -> Markup:
    """Say what the colours mean, where there are several."""
    kinds = {kind for _, kind in shown}
    if len(kinds) == 1:
        return NOTHING
    return joined(
        fill(
            '<span><svg class="swatch" viewBox="0 0 1 1" aria-hidden="true" focusable="false">'
            '<rect class="{kind}" width="1" height="1"/></svg>{word}</span>',
            kind=kind,
            word=word,
        )
        for kind, word in _KEYS.items()
        if kind in kinds
    )


_KEYS = {"good": "verified", "bad": "failed", "warn": "to be done", "idle": "others"}


def _use(number: int, use: DiskUse, total: int, largest: int) -> Markup:
    share = 100 * use.size / total
    return fill(
        '<li><span class="rank">{number}</span><span class="who">{names}</span><span class="size">{size}</span>'
        '<span class="share">{share}</span><svg class="bar" width="100%" height="6" aria-hidden="true" focusable="false">'
        '<rect class="rail" width="100%" height="6"/><rect class="{kind}" width="{width}%" height="6"/></svg></li>',
        number=number,
        names=", ".join(use.names[:5]) + (f" and {len(use.names) - 5:,} more" if len(use.names) > 5 else ""),
        size=human(use.size),
        share=f"{share:.0f}%" if share >= 1 else "<1%",
        kind=BADGES[use.stands][0],
        width=f"{max(100 * use.size / largest, 0.5):.1f}",
    )


# ---- the treemap


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
