"""The head of the page: how many models are in which state, as a sentence and as tiles. Both are made of one count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import Markup, fill, joined
from model_provisioner.cli.report_page.states import FAILED, TO_DO, UNPINNED, VERIFIED, State
from model_provisioner.cli.summary import models
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALWAYS = (FAILED, TO_DO, UNPINNED, VERIFIED)
"""The states that have a tile even if no model is in them: that nothing failed is worth saying."""


def lead(count: Mapping[State, int]) -> Markup:
    """Return how the models stand, in a sentence or two."""
    total = sum(count.values())
    needy = sum(count[state] for state in count if not state.in_order)
    in_order = _told((state, count[state]) for state in count if state.in_order)
    all_of_them = "The one model is" if total == 1 else f"All {total:,} models are"
    if not total:
        return fill("models.yaml names no model yet.")
    if count[VERIFIED] == total:
        return fill("{all} verified and handed off.", all=all_of_them)
    if not needy:
        return fill("{all} in order: {told}.", all=all_of_them, told=in_order)
    return fill(
        "{needy} of {total} {models} {verb} attention: {told}.{others}",
        needy=f"{needy:,}",
        total=f"{total:,}",
        models=models(total),
        verb="needs" if needy == 1 else "need",
        told=_told((state, count[state]) for state in count if not state.in_order),
        others=f" The others are in order: {in_order}." if in_order else "",
    )


def _told(counts: Iterable[tuple[State, int]]) -> str:
    return ", ".join(f"{number:,} {state.said}" for state, number in counts if number)


def tiles(count: Mapping[State, int], size: int) -> Markup:
    """Return a tile for each state, which shows the models in it alone, and one for the disk."""
    shown = [_tile(state, count[state]) for state in count if count[state] or state in _ALWAYS]
    return joined(
        (*shown, fill('<li><a href="#disk"><b>{size}</b> On the disk</a></li>' if size else "", size=human(size)))
    )


def _tile(state: State, number: int) -> Markup:
    if not number:
        return fill("<li><span><b>0</b> {title}</span></li>", title=state.title)
    return fill(
        '<li class="{key}"><a id="{key}" href="#{key}"><b>{number}</b> {title}</a></li>',
        key=state.key,
        number=f"{number:,}",
        title=state.title,
    )
