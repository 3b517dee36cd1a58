"""The sections of the page about single models: what fails, from reference to handoff, and the table of all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.operations.report import STANDS
from model_provisioner.units import human

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import ModelReport, Report, Stands

CHAINS = 60
"""How many models the graph shows: beyond that nobody sees a picture, and the table says the same."""
ROWS = 50
"""How many rows of the table a browser lays out at a time, when it comes to them."""

BADGES: dict[Stands, tuple[LiteralString, LiteralString, LiteralString]] = {
    "failed": ("bad", "✕", "Failed"),
    "tolerated": ("bad", "!", "Mismatch, handed off"),
    "stale": ("warn", "↻", "To be done again"),
    "pending": ("warn", "…", "Not finished"),
    "new": ("idle", "○", "Not provisioned yet"),
    "retired": ("idle", "-", "Retired"),
    "current": ("good", "✓", "Verified"),
}
"""How each state looks: the class of the style, a symbol, and the words."""


# ---- what fails, and why

_FIELD = re.compile(r"  (where|expected|found|fix) +(.*)")


def failures(report: Report) -> Markup:
    """Return every error whole, with its fix."""
    parts = [
        fill(
            '<article class="failure" id="why-{id}"><h3><span>{name}</span> {badge}</h3>\n'
            '<p class="ref"><code>{reference}</code></p>\n{error}</article>',
            id=model.name,
            name=model.name,
            badge=_badge(model),
            reference=_reference(model, report.root),
            error=_error(model.error),
        )
        for model in report.models
        if model.error is not None
    ]
    return joined(parts, "\n") if parts else NOTHING


def _error(text: str) -> Markup:
    """Return an error, whose lines are a sentence and the fields of `errors.ProvisionError`."""
    first, *rest = text.splitlines() or [""]
    fields = []
    for line in rest:
        match = _FIELD.fullmatch(line)
        label, value = match.groups() if match else ("", line.strip())
        fields.append(
            fill(
                '<div class="{kind}"><dt>{label}</dt><dd>{value}</dd></div>',
                kind="fix" if label == "fix" else "field",
                label=label.capitalize(),
                value=value,
            )
        )
    details = fill("<dl>{fields}</dl>", fields=joined(fields)) if fields else NOTHING
    return fill('<p class="what">{first}</p>{details}', first=first, details=details)


# ---- from reference to handoff

_STEP = {"done": ": done", "stop": ": it stops here", "next": ": to be done next", "wait": ": not reached"}


def graph(report: Report) -> Markup:
    """Return how each model gets from its reference to its handoff, and where it stops."""
    if not report.models:
        return NOTHING
    by_need = sorted(report.models, key=lambda model: (STANDS.index(model.stands), model.name))
    note = NOTHING
    if len(by_need) > CHAINS:
        note = fill(
            '<p class="note">These are the first {count}, those that need attention before the others; '
            '<a href="#models">the table</a> has all {total}.</p>',
            count=CHAINS,
            total=f"{len(by_need):,}",
        )
    chains = joined((_chain(model, report.root) for model in by_need[:CHAINS]), "\n")
    return fill('{note}<ul class="chains">\n{chains}\n</ul>', note=note, chains=chains)


def _chain(model: ModelReport, root: str) -> Markup:
    here = bool(model.files) and model.trouble is None
    verified = model.stands in {"current", "tolerated"}
    handed_off = model.handoff_state == "confirmed"
    # A step is done, or it is where the chain stops, or it comes after that.
    stops = 1 if not here else 2 if not verified else 3 if not handed_off else 4
    kinds: list[LiteralString] = ["done" if n < stops else "stop" if n == stops else "wait" for n in range(4)]
    if stops < 4 and model.stands in {"new", "pending", "stale", "retired"}:
        kinds[stops] = "next"
    if model.stands == "tolerated":
        kinds[2] = "stop"
    size = human(model.size) + ("" if len(model.files) == 1 else f" in {len(model.files):,} files")
    handoff = fill("<code>{path}</code><br>{said}", path=relative(model.handoff, root), said=_handoff(model))
    steps = [
        ("Reference", fill("<code>{text}</code>", text=_reference(model, root))),
        ("Files", fill("{size}", size=size if here else "not here")),
        ("Verification", _verification(model)),
        ("Handoff", handoff),
    ]
    return fill(
        '<li class="chain"><h3><span>{name}</span> {badge}</h3><ol>{steps}</ol></li>',
        name=model.name,
        badge=_badge(model),
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


def _verification(model: ModelReport) -> Markup:
    row = model.row
    digest = NOTHING
    if row is not None and row.digest is not None and row.outcome != "error":
        algo, _, value = row.digest.partition(":")
        digest = fill("<br><code>{algo}:{value}…</code>", algo=algo, value=value[:12])
    return fill("{said}{digest}", said=_outcome(model), digest=digest)


def _outcome(model: ModelReport) -> str:
    """Return the result of the verification, in words."""
    if model.stands in {"stale", "pending", "new"}:
        return "; ".join(model.why) or "to be done"
    if model.trouble is not None:
        return "nothing to verify"
    outcome = None if model.row is None else model.row.outcome
    return {"pass": "as expected", "warn": "no digest is expected", "fail": "another digest than expected"}.get(
        outcome or "", "failed" if outcome else "not verified"
    )


# ---- all models

_HEADS: tuple[LiteralString, ...] = ("Model", "State", "Size", "Digest", "Verified", "Handoff")
_TABLE: LiteralString = """<table role="table" aria-labelledby="models-h">
<thead role="rowgroup"><tr role="row">{heads}</tr></thead>
{bodies}
</table>"""
_ROW: LiteralString = """<tr role="row"><th role="rowheader" scope="row"><b>{name}</b><code>{reference}</code>{kind}</th>\
<td role="cell">{badge}{why}</td><td role="cell">{size}</td><td role="cell">{digest}</td>\
<td role="cell">{verified}</td><td role="cell"><code>{handoff}</code><span>{said}</span></td></tr>"""


def table(report: Report) -> Markup:
    """Return all models, a row each."""
    parts = []
    if report.models:
        rows = [_row(model, report.root) for model in report.models]
        bodies = (
            fill('<tbody role="rowgroup">\n{rows}\n</tbody>', rows=joined(rows[at : at + ROWS], "\n"))
            for at in range(0, len(rows), ROWS)
        )
        heads = (fill('<th role="columnheader" scope="col">{head}</th>', head=head) for head in _HEADS)
        parts.append(fill(_TABLE, heads=joined(heads), bodies=joined(bodies, "\n")))
    if report.left_over:
        parts.append(
            fill(
                '<p class="note">No longer in models.yaml, and cleared up by the next full run: {names}.</p>',
                names=joined((fill("<code>{name}</code>", name=name) for name in report.left_over), ", "),
            )
        )
    return joined(parts, "\n") if parts else NOTHING


def _row(model: ModelReport, root: str) -> Markup:
    metadata = None if model.row is None else model.row.metadata
    kind = "" if metadata is None else " ".join(filter(None, (metadata.architecture, metadata.quantization)))
    count = len(model.files)
    return fill(
        _ROW,
        name=model.name,
        reference=_reference(model, root),
        kind=fill("<span>{kind}</span>", kind=kind) if kind else NOTHING,
        badge=_badge(model),
        why=_why(model),
        size=fill(
            "{size}{count}",
            size=human(model.size) if model.files else "-",
            count=fill("<span>{count} files</span>", count=f"{count:,}") if count > 1 else NOTHING,
        ),
        digest=_digest(model),
        verified=_verified(model),
        handoff=relative(model.handoff, root),
        said=_handoff(model),
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
        "pass": ", as expected",
        "warn": ", none expected",
        "fail": ", not the expected one",
        "error": ", of an earlier reading",
    }
    said = agrees.get(row.outcome or "", "")
    return fill("<code>{value}</code><span>{algo}{said}</span>", value=value, algo=algo, said=said)


def _verified(model: ModelReport) -> Markup:
    row, last = model.row, model.last
    failed = row is not None and row.lifecycle == "Failed"
    time = last.time if failed and last is not None else None if row is None or failed else row.verified_at
    if time is None:
        return fill("-")
    return fill("{time}<span>{how}</span>", time=_moment(time), how=_how(model, time))


def _how(model: ModelReport, shown: str) -> Markup:
    """Say when and how its bytes were last read, and when they were last hashed, as far as that is on record."""
    last, hashed = model.last, model.hashed
    if last is None and hashed is None:
        return fill("no reading of its bytes is on record")
    if last is None:
        return fill("known by stat{since}", since=_since(hashed))
    when = NOTHING if last.time == shown else fill(", {time}", time=_moment(last.time))
    if last.how == "hashed":
        return fill("SHA-256 of every byte{when}", when=when)
    return fill("every byte read (xxh3){when}{since}", when=when, since=_since(hashed))


def _since(hashed: str | None) -> Markup:
    return NOTHING if hashed is None else fill("; SHA-256 {time}", time=_moment(hashed))


# ---- in several sections


def _badge(model: ModelReport) -> Markup:
    kind, symbol, word = BADGES[model.stands]
    if model.stands == "current" and model.expected is None:
        word = "Verified, not pinned"
    return fill(
        '<span class="badge {kind}"><span aria-hidden="true">{symbol}</span> {word}</span>',
        kind=kind,
        symbol=symbol,
        word=word,
    )


def _reference(model: ModelReport, root: str) -> str:
    """Return a reference as `models.yaml` may write it."""
    scheme, colon, path = model.reference.partition(":")
    return f"file:{relative(path, root)}" if colon and scheme == "local" else model.reference


def _handoff(model: ModelReport) -> str:
    """Say how the handoff is."""
    if model.handoff_state == "none":
        return f"none for {model.engine}"
    return f"for {model.engine}" + ("" if model.handoff_state == "confirmed" else ", but not confirmed")


def _moment(time: str) -> Markup:
    return fill('<time datetime="{time}">{shown}</time>', time=time, shown=time.replace("T", " ").replace("Z", " UTC"))
