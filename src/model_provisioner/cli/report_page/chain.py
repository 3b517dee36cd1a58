"""How a model that is not in order gets from its reference to its handoff, and where it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.cli.report_page.markup import Markup, fill, joined
from model_provisioner.cli.report_page.words import handoff_in_words, reference_in_words
from model_provisioner.units import human

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.model_report import ModelReport

_STEP = {"done": ": done", "stop": ": it stops here", "next": ": to be done next", "wait": ": not reached"}


def chain(model: ModelReport, root: str) -> Markup:
    """Return the four steps, each done or not."""
    here = bool(model.files) and model.trouble is None
    verified = model.stands == "tolerated"
    handed_off = model.handoff_state == "confirmed"
    # A step is done, or it is where the chain stops, or it comes after that.
    stops = 1 if not here else 2 if not verified else 3 if not handed_off else 4
    kinds: list[LiteralString] = ["done" if n < stops else "stop" if n == stops else "wait" for n in range(4)]
    if stops < 4 and model.stands in {"new", "pending", "stale"}:
        kinds[stops] = "next"
    if model.stands == "tolerated":
        kinds[2] = "stop"
    size = human(model.size) + ("" if len(model.files) == 1 else f" in {len(model.files):,} files")
    steps = [
        ("Reference", fill("<code>{text}</code>", text=reference_in_words(model.reference, root))),
        ("Files", fill("{size}", size=size if here else "not here")),
        ("Verification", fill("{said}", said=_outcome(model))),
        (
            "Handoff",
            fill("<code>{path}</code><br>{said}", path=relative(model.handoff, root), said=handoff_in_words(model)),
        ),
    ]
    return fill(
        '<ol class="chain">{steps}</ol>',
        steps=joined(
            fill(
                '<li class="{kind}"><strong>{title}<span class="vh">{said}</span></strong> {body}</li>',
                kind=kind,
                title=title,
                said=_STEP[kind],
                body=body,
            )
            for kind, (title, body) in zip(kinds, steps, strict=True)
        ),
    )


def _outcome(model: ModelReport) -> str:
    """Return the result of the verification, in words."""
    if model.stands in {"stale", "pending", "new"}:
        return "; ".join(model.why) or "to be done"
    if model.trouble is not None:
        return "nothing to verify"
    return "not verified" if model.row is None or model.row.outcome is None else "failed"
