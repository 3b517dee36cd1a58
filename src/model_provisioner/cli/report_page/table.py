"""The section of the page that has all models, a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import Markup, fill, joined
from model_provisioner.cli.report_page.parts import NOTHING, badge, handoff_said, moment, place, shown
from model_provisioner.units import human

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import ModelReport, Report

ROWS = 50
"""How many rows of the table a browser lays out at a time, when it comes to them."""
_HEADS: tuple[LiteralString, ...] = ("Model", "State", "Size", "Digest", "Verified", "Handoff")
_TABLE: LiteralString = """<table role="table" aria-labelledby="models-h">
<thead role="rowgroup"><tr role="row">{heads}</tr></thead>
{bodies}
</table>"""
_ROW: LiteralString = """<tr role="row"><th role="rowheader" scope="row"><b>{name}</b><code>{reference}</code>{facts}</th>\
<td role="cell">{badge}{why}</td><td role="cell">{size}</td><td role="cell">{digest}</td>\
<td role="cell">{verified}</td><td role="cell"><code>{handoff}</code><span>{said}</span></td></tr>"""


def table(report: Report) -> Markup:
    parts = []
    if report.models:
        rows = [_row(model, report.root) for model in report.models]
        groups = [rows[at : at + ROWS] for at in range(0, len(rows), ROWS)]
        parts.append(
            fill(
                _TABLE,
                heads=joined(fill('<th role="columnheader" scope="col">{head}</th>', head=head) for head in _HEADS),
                bodies=joined(
                    (fill('<tbody role="rowgroup">\n{rows}\n</tbody>', rows=joined(group, "\n")) for group in groups),
                    "\n",
                ),
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


def _row(model: ModelReport, root: str) -> Markup:
    row = model.row
    facts = None if row is None else row.metadata
    kind = "" if facts is None else " ".join(filter(None, (facts.architecture, facts.quantization)))
    size = human(model.size) if model.files else "-"
    return fill(
        _ROW,
        name=model.name,
        reference=place(model.reference, root),
        facts=fill("<span>{kind}</span>", kind=kind) if kind else NOTHING,
        badge=badge(model),
        why=_why(model),
        size=fill("{size}<span>{count} files</span>", size=size, count=f"{len(model.files):,}")
        if len(model.files) > 1
        else fill("{size}", size=size),
        digest=_digest(model),
        verified=_verified(model),
        handoff=shown(model.handoff, root),
        said=handoff_said(model),
    )


def _why(model: ModelReport) -> Markup:
    if model.error is not None:
        return fill('<a href="#why-{name}">why {name} failed</a>', name=model.name)
    return fill("<span>{why}</span>", why="; ".join(model.why)) if model.why else NOTHING


def _digest(model: ModelReport) -> Markup:
    row = model.row
    if row is None or row.digest is None:
        return fill("-")
    algo, _, value = row.digest.partition(":")
    agrees = {
        "pass": "as expected",
        "warn": "none expected",
        "fail": "not the expected one",
        "error": "of an earlier reading",
    }
    said = agrees.get(row.outcome or "")
    return fill("<code>{value}</code><span>{said}</span>", value=value, said=f"{algo}, {said}" if said else algo)


def _verified(model: ModelReport) -> Markup:
    row, last = model.row, model.last
    failed = row is not None and row.lifecycle == "Failed"
    time = last.time if failed and last is not None else None if row is None or failed else row.verified_at
    if time is None:
        return fill("-")
    return fill("{time}<span>{how}</span>", time=moment(time), how=_how(model, time))


def _how(model: ModelReport, shown: str) -> Markup:
    """Say when and how its bytes were last read, and when they were last hashed; what the log does not tell is not guessed."""
    last, hashed = model.last, model.hashed
    if last is None:
        return fill("no reading of its bytes is in this project's log")
    when = NOTHING if last.time == shown else fill(", {time}", time=moment(last.time))
    if last.how == "hashed":
        return fill("SHA-256 of every byte{when}", when=when)
    since = NOTHING if hashed is None else fill("; SHA-256 {time}", time=moment(hashed.time))
    return fill("every byte read (xxh3){when}{since}", when=when, since=since)
