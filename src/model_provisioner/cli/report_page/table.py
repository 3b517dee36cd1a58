"""The table of all models: a line each, those first that need attention, with all that is known of each behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.details import details
from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.cli.report_page.states import FAILED, STATES, TOLERATED, badge, state_of
from model_provisioner.cli.report_page.words import handoff_in_words, moment, verified
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import LiteralString

    from model_provisioner.cli.report_page.states import State
    from model_provisioner.operations.model_report import ModelReport
    from model_provisioner.operations.report import Report

OPEN = 2
"""How many of the models that failed have their details open from the start: all is said of them before anybody clicks."""
FEW = 100
"""Up to how many rows a browser lays out at once; beyond that, each when somebody comes near it."""
DIGITS = 12
"""How many digits of a digest the table shows: enough to tell models apart. The details have all."""

_HEADS: tuple[LiteralString, ...] = ("Model", "State", "Type", "Size", "Digest", "Verified", "Handoff")
_TABLE: LiteralString = """<div class="find" hidden><label for="find">Find</label><input id="find" type="search" \
autocomplete="off" spellcheck="false" placeholder="name, digest, error …"><output for="find"></output></div>
<p class="note">Those that need attention come first. <span class="hint">A tile above shows the models of its state alone.\
<a class="all" href="#models">Show all models</a></span></p>
<table role="table" aria-labelledby="models-h"{many}>
<thead role="rowgroup"><tr role="row">{heads}\
<th role="columnheader" scope="col"><span class="vh">Details</span></th></tr></thead>
<tbody role="rowgroup">
{rows}
</tbody>
</table>"""
_HEAD: LiteralString = '<th role="columnheader" scope="col"{sorted}>{head}</th>'
_ROW: LiteralString = """<tr role="row" class="{key}" id="m-{name}"><th role="rowheader" scope="row">{name}</th>\
<td role="cell"><b>{badge}</b></td><td role="cell">{kind}</td><td role="cell">{size}</td><td role="cell">{digest}</td>\
<td role="cell">{verified}</td><td role="cell">{handoff}</td><td role="cell">{details}</td></tr>"""


def table(report: Report, groups: Mapping[State, Sequence[ModelReport]]) -> Markup:
    """Return all models, a row each, and what the catalog knows of entries that are gone."""
    parts = []
    if report.models:
        models = [model for state in STATES for model in groups[state]]
        opened = [*groups[FAILED], *groups[TOLERATED]][:OPEN]
        parts.append(
            fill(
                _TABLE,
                many=fill(' class="many"') if len(models) > FEW else NOTHING,
                heads=joined(
                    fill(_HEAD, head=head, sorted=fill(' aria-sort="ascending"') if head == "State" else NOTHING)
                    for head in _HEADS
                ),
                rows=joined((_row(model, report.root, model in opened) for model in models), "\n"),
            )
        )
    if report.left_over:
        parts.append(
            fill(
                '<p class="note">No longer in models.yaml, and cleared up by the next full run: {names}.</p>',
                names=joined((fill("<code>{name}</code>", name=name) for name in report.left_over), ", "),
            )
        )
    return joined(parts, "\n") if parts else NOTHING


def _row(model: ModelReport, root: str, opened: bool) -> Markup:
    row = model.row
    metadata = None if row is None else row.metadata
    digest = None if row is None or row.digest is None else row.digest.partition(":")[2]
    time = verified(model)
    return fill(
        _ROW,
        key=state_of(model).key,
        name=model.name,
        badge=badge(model),
        kind="" if metadata is None else " ".join(filter(None, (metadata.architecture, metadata.quantization))),
        size=fill('<data value="{size}">{shown}</data>', size=model.size, shown=human(model.size))
        if model.files
        else NOTHING,
        digest=fill("<code>{digits}</code>", digits=digest[:DIGITS]) if digest else NOTHING,
        verified=moment(f"{time[:16]}Z") if time else NOTHING,
        handoff=handoff_in_words(model),
        details=details(model, root, opened),
    )
