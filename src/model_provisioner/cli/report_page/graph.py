"""The section of the page that shows how each model gets from its reference to its handoff, and where it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import Markup, fill, joined
from model_provisioner.cli.report_page.parts import NOTHING, badge, handoff_said, name_of, place, shown
from model_provisioner.operations.report import STANDS
from model_provisioner.units import human

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import ModelReport, Report

CHAINS = 60
"""How many models the graph shows: beyond that nobody sees a picture, and the table tells the same."""


def graph(report: Report) -> Markup:
    if not report.models:
        return NOTHING
    by_need = sorted(report.models, key=lambda model: (STANDS.index(model.stands), model.name))
    shown = by_need[:CHAINS]
    left = len(by_need) - len(shown)
    note = (
        fill(
            '<p class="note">These are the first {count}, those that need attention before the others; '
            '<a href="#models">the table</a> has all {total}.</p>',
            count=len(shown),
            total=f"{len(by_need):,}",
        )
        if left
        else NOTHING
    )
    chains = joined((_chain(model, report.root) for model in shown), "\n")
    return fill('{note}<ul class="chains">\n{chains}\n</ul>', note=note, chains=chains)


def _chain(model: ModelReport, root: str) -> Markup:
    here = bool(model.files) and model.trouble is None
    verified = model.stands in {"current", "tolerated"}
    handed = model.handoff_state == "confirmed"
    # A step is done, or it is where it stops, or it comes after that.
    stops = 1 if not here else 2 if not verified else 3 if not handed else 4
    kinds: list[LiteralString] = ["done" if n < stops else "stop" if n == stops else "wait" for n in range(4)]
    if stops < 4 and model.stands in {"new", "pending", "stale", "retired"}:
        kinds[stops] = "next"
    if model.stands == "tolerated":
        kinds[2] = "stop"
    size = human(model.size) + ("" if len(model.files) == 1 else f" in {len(model.files):,} files")
    steps = [
        ("Reference", fill("<code>{text}</code>", text=place(model.reference, root))),
        ("Files", fill("{size}", size=size) if here else fill("not here")),
        ("Verification", _verification(model)),
        (
            "Handoff",
            fill("<code>{path}</code><br>{said}", path=shown(model.handoff, root), said=handoff_said(model)),
        ),
    ]
    return fill(
        '<li class="chain"><h3>{name} {badge}</h3><ol>{steps}</ol></li>',
        name=name_of(model),
        badge=badge(model),
        steps=joined(
            fill(
                '<li class="{kind}"><span class="step">{title}<span class="vh">{said}</span></span>{body}</li>',
                kind=kind,
                title=title,
                said=_STEP[kind],
                body=body,
            )
            for kind, (title, body) in zip(kinds, steps, strict=True)
        ),
    )


_STEP = {"done": ": done", "stop": ": it stops here", "next": ": to be done next", "wait": ": not reached"}


def _verification(model: ModelReport) -> Markup:
    row = model.row
    digest = NOTHING
    if row is not None and row.digest is not None and row.outcome != "error":
        algo, _, value = row.digest.partition(":")
        digest = fill("<br><code>{algo}:{value}…</code>", algo=algo, value=value[:12])
    return fill("{said}{digest}", said=_check(model), digest=digest)


def _check(model: ModelReport) -> str:
    """Say what came of the verification."""
    if model.stands in {"stale", "pending", "new"}:
        return "; ".join(model.why) or "to be done"
    outcome = None if model.row is None else model.row.outcome
    if model.trouble is not None:
        return "nothing to verify"
    return {"pass": "as expected", "warn": "no digest is expected", "fail": "another digest than expected"}.get(
        outcome or "", "failed" if outcome else "not verified"
    )
