"""The section of the page that shows what takes the disk, as a picture and as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.cli.report_page.states import STATES, state_of
from model_provisioner.cli.report_page.treemap import squarify
from model_provisioner.units import human

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.cli.report_page.states import State
    from model_provisioner.cli.report_page.treemap import Tile
    from model_provisioner.operations.report import DiskUse, Report

WIDTH, HEIGHT = 1300, 240
"""The size of the picture in pixels, where there is room: what is written in a box depends on it."""
LARGEST = 30
"""How many of the largest have a box of their own; the rest is one box."""
NAMED = 3
"""How many of the models that share their files are named."""

_PICTURE: LiteralString = """<p class="note">{size} in all. Each box is a model's files, as large as their share of that; \
a file that several models use counts once. The colour is the model's state, of several the worst.{rest}</p>
<figure><svg class="map" width="100%" height="{height}" role="img" aria-labelledby="disk-t disk-d">\
<title id="disk-t">Disk use by model</title>\
<desc id="disk-d">A box for each model; the list below says the same. The largest is {largest}.</desc>{boxes}</svg>
<figcaption>{keys}</figcaption></figure>
<details class="list"><summary>The same as a list</summary><ol class="uses">
{items}
</ol></details>"""
_BOX: LiteralString = """<svg class="{key}" x="{x}%" y="{y}%" width="{w}%" height="{h}%"><title>{name}: {said}</title>\
<rect width="100%" height="100%"/>{label}</svg>"""
_ITEM: LiteralString = """<li class="{key}"><span class="who">{names}</span><span>{size}</span><span>{share}</span>\
<svg class="bar" width="100%" height="6" aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="6"/>\
<rect width="{width}%" height="6"/></svg></li>"""


def disk(report: Report) -> Markup:
    """Return what takes the disk."""
    uses = report.disk_use()
    if not uses:
        return NOTHING
    largest, others = uses[:LARGEST], uses[LARGEST:]
    rest = sum(use.size for use in others)
    total = rest + sum(use.size for use in largest)
    boxes = [(use.size, _state(use).key, _names(use), f"{human(use.size)}, {_state(use).said}") for use in largest]
    if others:
        boxes.append((rest, "others", f"{len(others):,} others", human(rest)))
    boxes.sort(key=lambda box: -box[0])
    tiles = squarify([box[0] for box in boxes], WIDTH, HEIGHT)
    return fill(
        _PICTURE,
        size=human(report.size),
        rest=f" The {len(others):,} smallest are one box." if others else "",
        height=HEIGHT,
        largest=f"{_names(largest[0])} with {human(largest[0].size)} of {human(total)}",
        boxes=joined(_box(tile, *box[1:]) for tile, box in zip(tiles, boxes, strict=True)),
        keys=_keys({box[1] for box in boxes}),
        items=joined((_item(use, total, largest[0].size) for use in largest), "\n"),
    )


def _state(use: DiskUse) -> State:
    return min(map(state_of, use.models), key=STATES.index)


def _names(use: DiskUse) -> str:
    more = len(use.names) - NAMED
    return ", ".join(use.names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _box(tile: Tile, key: LiteralString, name: str, said: str) -> Markup:
    """Return a box with its name in it, as far as there is room: what is too long is cut off at its edge."""
    return fill(
        _BOX,
        key=key,
        x=f"{100 * tile.x / WIDTH:.2f}",
        y=f"{100 * tile.y / HEIGHT:.2f}",
        w=f"{100 * tile.width / WIDTH:.2f}",
        h=f"{100 * tile.height / HEIGHT:.2f}",
        name=name,
        said=said,
        label=joined(
            (
                fill('<text x="10" y="21">{name}</text>', name=name)
                if tile.width > 50 and tile.height > 26
                else NOTHING,
                fill('<text class="said" x="10" y="39">{said}</text>', said=said)
                if tile.width > 70 and tile.height > 46
                else NOTHING,
            )
        ),
    )


def _keys(shown: set[LiteralString]) -> Markup:
    """Say what the colours mean."""
    return joined(
        fill(
            '<span class="{key}"><svg class="swatch" aria-hidden="true" focusable="false">'
            '<rect width="100%" height="100%"/></svg>{title}</span>',
            key=key,
            title=title,
        )
        for key, title in (*((state.key, state.title) for state in STATES), ("others", "Others"))
        if key in shown
    )


def _item(use: DiskUse, total: int, largest: int) -> Markup:
    share = 100 * use.size / total
    return fill(
        _ITEM,
        key=_state(use).key,
        names=joined((fill('<a href="#m-{name}">{name}</a>', name=name) for name in use.names), ", "),
        size=human(use.size),
        share=f"{share:.0f}%" if share >= 1 else "<1%",
        width=f"{max(100 * use.size / largest, 0.5):.1f}",
    )
