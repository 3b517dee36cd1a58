"""The page of `doit model-report`: one HTML file that needs nothing but itself, and runs nothing.

Everything that is shown goes through `markup.fill`; the page's own policy forbids scripts, requests and any style but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib import resources
from typing import TYPE_CHECKING

from model_provisioner.plugin.markup import Markup, fill, joined
from model_provisioner.plugin.treemap import squarify
from model_provisioner.sizes import human
from model_provisioner.tasks.report import STANDS
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.tasks.report import DiskUse, ModelReport, Report, Stands

CHAINS = 60
"""How many models the graph shows: beyond that nobody sees a picture, and the table tells the same."""
LARGEST = 30
"""How many models the picture of the disk names; the rest is one tile."""
ROWS = 50
"""How many rows of the table a browser lays out at a time, when it comes to them."""

NOTHING = Markup("")

_WORDS: dict[Stands, tuple[LiteralString, LiteralString, LiteralString]] = {
    # class, symbol, word
    "failed": ("bad", "✕", "Failed"),
    "tolerated": ("bad", "!", "Mismatch, handed off"),
    "stale": ("warn", "↻", "To be done again"),
    "pending": ("warn", "…", "Not finished"),
    "new": ("idle", "○", "Not provisioned yet"),
    "retired": ("idle", "-", "Retired"),
    "current": ("good", "✓", "Verified"),
}

_PAGE: LiteralString = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style_hash}'; img-src data:; \
base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<meta name="generator" content="model-provisioner {version}">
<title>Models of {project}</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect \
width='16' height='16' rx='4' fill='%23176d8a'/%3E%3Cpath d='M4 8.5 7 11.5 12 5' fill='none' stroke='white' \
stroke-width='2'/%3E%3C/svg%3E">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">To the models</a>
<header>
<p class="over">Model report</p>
<h1>{project}</h1>
<p class="lead">{lead}</p>
<dl class="tiles">{tiles}</dl>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main id="main">
{sections}
</main>
<footer>
<p>Made at <time id="made-at" datetime="{made_at}">{made_at}</time>, the one thing on this page that depends on the clock.</p>
<p>Project <code>{root}</code>, configuration <code>{config}</code>. model-provisioner {version}.</p>
<p>Nothing was read again for this page: it tells what the records say, and whether size and times of the files still agree.
<code>doit provision --full</code> reads every byte.</p>
</footer>
</body>
</html>
"""


def page(report: Report) -> str:
    """Return the HTML of a report. The same report gives the same text."""
    style = resources.files("model_provisioner.plugin").joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    sections = [
        (name, title, body)
        for name, title, body in (
            ("fails", "What fails, and why", _failures(report)),
            ("graph", "From reference to handoff", _graph(report)),
            ("disk", "Disk use", _disk(report)),
            ("models", "All models", _table(report)),
        )
        if body is not NOTHING
    ]
    return fill(
        _PAGE,
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        project=os.path.basename(report.root) or report.root,
        root=report.root,
        config=_shown(report.config, report.root),
        version=__version__,
        made_at=report.made_at,
        lead=_lead(report),
        tiles=_tiles(report),
        links=joined(fill('<li><a href="#{name}">{title}</a></li>', name=n, title=t) for n, t, _ in sections),
        sections=joined(
            (
                fill(
                    '<section id="{name}" aria-labelledby="{name}-h">\n<h2 id="{name}-h">{title}</h2>\n{body}\n</section>',
                    name=name,
                    title=title,
                    body=body,
                )
                for name, title, body in sections
            ),
            "\n",
        ),
    ).text


# ---- the top


def _lead(report: Report) -> Markup:
    counts, total = report.counts, len(report.models)
    if not total:
        return fill("models.yaml names no model yet.")
    good = counts["current"]
    if good == total:
        return fill("{all} verified, and handed off as it stands.", all=_every(total))
    rest = [(_REST[stands], counts[stands]) for stands in STANDS if counts[stands] and stands != "current"]
    return fill(
        "{good} of {total} {word} verified and handed off; {rest}.",
        good=f"{good:,}",
        total=_models(total),
        word="is" if good == 1 else "are",
        rest=", ".join(f"{count:,} {word}" for word, count in rest),
    )


_REST: dict[Stands, str] = {
    "failed": "failed",
    "tolerated": "handed off in spite of a mismatch",
    "stale": "to be done again",
    "pending": "not finished",
    "new": "not provisioned yet",
    "retired": "retired",
}


def _every(total: int) -> str:
    return "The one model is" if total == 1 else f"All {total:,} models are"


def _models(count: int) -> str:
    return f"{count:,} model{'' if count == 1 else 's'}"


def _tiles(report: Report) -> Markup:
    counts = report.counts
    failed = counts["failed"] + counts["tolerated"]
    waiting = counts["stale"] + counts["pending"] + counts["new"]
    tiles = [
        ("good" if counts["current"] else "idle", "Verified", f"{counts['current']:,}"),
        ("bad" if failed else "idle", "Failed", f"{failed:,}"),
        ("warn" if waiting else "idle", "To be done", f"{waiting:,}"),
        ("idle", "On the disk", human(report.size)),
    ]
    return joined(
        fill('<div class="{kind}"><dt>{name}</dt><dd>{value}</dd></div>', kind=kind, name=name, value=value)
        for kind, name, value in tiles
    )


# ---- what fails


def _failures(report: Report) -> Markup:
    failed = [model for model in report.models if model.error is not None]
    parts = [
        fill(
            '<article class="failure"><h3>{name} {badge}</h3>\n<p class="ref"><code>{reference}</code></p>\n{error}</article>',
            name=_name(model),
            badge=_badge(model),
            reference=_place(model.reference, report.root),
            error=_error(model.error or ""),
        )
        for model in failed
    ]
    if report.left_over:
        parts.append(
            fill(
                '<p class="note">No longer in models.yaml, and cleared up by the next full run: {names}.</p>',
                names=joined((fill("<code>{name}</code>", name=name) for name in report.left_over), ", "),
            )
        )
    return joined(parts, "\n") if parts else NOTHING


_FIELD = re.compile(r"  (where|expected|found|fix) +(.*)")


def _error(text: str) -> Markup:
    """Return an error, whose lines are a sentence and what `errors.ProvisionError` says beside it."""
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
    return fill('<p class="what">{first}</p>{details}', first=first[:1].upper() + first[1:], details=details)


# ---- the graph


def _graph(report: Report) -> Markup:
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
        ("Reference", fill("<code>{text}</code>", text=_place(model.reference, root))),
        ("Files", fill("{size}", size=size) if here else fill("not here")),
        ("Verification", _verification(model)),
        (
            "Handoff",
            fill("<code>{path}</code><br>{said}", path=_shown(model.handoff, root), said=_handoff(model)),
        ),
    ]
    return fill(
        '<li class="chain"><h3>{name} {badge}</h3><ol>{steps}</ol></li>',
        name=_name(model),
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


_STEP = {"done": ": done", "stop": ": it stops here", "next": ": to be done next", "wait": ": not reached"}


def _handoff(model: ModelReport) -> str:
    """Say how the handoff is."""
    if model.handoff_state == "none":
        return f"none for {model.engine}"
    return f"for {model.engine}" if model.handoff_state == "confirmed" else f"for {model.engine}, but not confirmed"


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


# ---- the disk


def _disk(report: Report) -> Markup:
    uses = report.disk_use()
    if not uses:
        return NOTHING
    largest, others = uses[:LARGEST], uses[LARGEST:]
    rest = sum(use.size for use in others)
    shown = [(use.size, _WORDS[use.stands][0]) for use in largest]
    shown += [(rest, "idle")] if rest else []
    order = sorted(range(len(shown)), key=lambda n: -shown[n][0])
    tiles = dict(zip(order, squarify([shown[n][0] for n in order], 1000, 360), strict=True))
    rects = joined(
        fill(
            '<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}"/>{label}',
            kind=kind,
            x=f"{tile.x:.1f}",
            y=f"{tile.y:.1f}",
            w=f"{tile.width:.1f}",
            h=f"{tile.height:.1f}",
            label=fill('<text x="{x}" y="{y}">{n}</text>', x=f"{tile.x + 12:.1f}", y=f"{tile.y + 40:.1f}", n=n + 1)
            if n < len(largest) and tile.width > 62 and tile.height > 52
            else NOTHING,
        )
        for n, (_, kind) in enumerate(shown)
        for tile in [tiles[n]]
    )
    total = sum(size for size, _ in shown)
    items = [_use(n + 1, use, total, largest[0].size) for n, use in enumerate(largest)]
    return fill(
        '<figure><svg viewBox="0 0 1000 360" role="img" aria-labelledby="disk-t disk-d"><title id="disk-t">{title}</title>'
        '<desc id="disk-d">{words}</desc>{rects}</svg>\n<figcaption>{caption}</figcaption></figure>\n'
        '<ol class="uses">\n{items}\n</ol>{others}',
        title="Disk use by model",
        words="A rectangle for each model, as large as its share of the disk use; the numbers are those of the list below. "
        f"The largest is {', '.join(largest[0].names)} with {human(largest[0].size)} of {human(total)}.",
        rects=rects,
        caption=f"{human(report.size)} in all; a file that several models use counts once.",
        items=joined(items, "\n"),
        others=fill('<p class="note">{count} more take {size}.</p>', count=f"{len(others):,}", size=human(rest))
        if others
        else NOTHING,
    )


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
        kind=_WORDS[use.stands][0],
        width=f"{max(100 * use.size / largest, 0.5):.1f}",
    )


# ---- the table

_HEADS: tuple[LiteralString, ...] = ("Model", "State", "Size", "Digest", "Verified", "Handoff")
_TABLE: LiteralString = """<table role="table" aria-labelledby="models-h">
<thead role="rowgroup"><tr role="row">{heads}</tr></thead>
{bodies}
</table>"""
_ROW: LiteralString = """<tr role="row"><th role="rowheader" scope="row"><b>{name}</b><code>{reference}</code>{facts}</th>\
<td role="cell">{badge}{why}</td><td role="cell">{size}</td><td role="cell">{digest}</td>\
<td role="cell">{verified}</td><td role="cell"><code>{handoff}</code><span>{said}</span></td></tr>"""


def _table(report: Report) -> Markup:
    if not report.models:
        return NOTHING
    rows = [_row(model, report.root) for model in report.models]
    groups = [rows[at : at + ROWS] for at in range(0, len(rows), ROWS)]
    return fill(
        _TABLE,
        heads=joined(fill('<th role="columnheader" scope="col">{head}</th>', head=head) for head in _HEADS),
        bodies=joined(
            (fill('<tbody role="rowgroup">\n{rows}\n</tbody>', rows=joined(group, "\n")) for group in groups), "\n"
        ),
    )


def _row(model: ModelReport, root: str) -> Markup:
    row = model.row
    facts = None if row is None else row.metadata
    kind = "" if facts is None else " ".join(filter(None, (facts.architecture, facts.quantization)))
    why = () if model.stands == "current" else model.why
    size = human(model.size) if model.files else "-"
    return fill(
        _ROW,
        name=model.name,
        reference=_place(model.reference, root),
        facts=fill("<span>{kind}</span>", kind=kind) if kind else NOTHING,
        badge=_badge(model),
        why=fill("<span>{why}</span>", why="; ".join(why)) if why else NOTHING,
        size=fill("{size}<span>{count} files</span>", size=size, count=f"{len(model.files):,}")
        if len(model.files) > 1
        else fill("{size}", size=size),
        digest=_digest(model),
        verified=_verified(model),
        handoff=_shown(model.handoff, root),
        said=_handoff(model),
    )


def _digest(model: ModelReport) -> Markup:
    row = model.row
    if row is None or row.digest is None:
        return fill("-")
    pinned = "none expected" if model.expected is None else "as expected" if model.expected == row.digest else ""
    if model.expected is not None and not pinned:
        pinned = "as expected" if row.outcome == "pass" else f"expected: {model.expected}"
    return fill("<code>{digest}</code><span>{pinned}</span>", digest=row.digest, pinned=pinned)


def _verified(model: ModelReport) -> Markup:
    row, last = model.row, model.last
    failed = row is not None and row.lifecycle == "Failed"
    time = last.time if failed and last is not None else None if row is None or failed else row.verified_at
    if time is None:
        return fill("-")
    return fill("{time}<span>{how}</span>", time=_time(time), how=_how(model, time))


def _how(model: ModelReport, shown: str) -> Markup:
    """Say when and how its bytes were last read, and when they were last hashed; what the log does not tell is not guessed."""
    last, hashed = model.last, model.hashed
    if last is None:
        return fill("no reading of its bytes is in this project's log")
    when = NOTHING if last.time == shown else fill(", {time}", time=_time(last.time))
    if last.how == "hashed":
        return fill("SHA-256 of every byte{when}", when=when)
    since = NOTHING if hashed is None else fill("; SHA-256 {time}", time=_time(hashed.time))
    return fill("every byte read (xxh3){when}{since}", when=when, since=since)


# ---- parts


def _name(model: ModelReport) -> Markup:
    return fill("<span>{name}</span>", name=model.name)


def _badge(model: ModelReport) -> Markup:
    kind, symbol, word = _WORDS[model.stands]
    if model.stands == "current" and model.expected is None:
        word = "Verified, not pinned"
    return fill(
        '<span class="badge {kind}"><span aria-hidden="true">{symbol}</span> {word}</span>',
        kind=kind,
        symbol=symbol,
        word=word,
    )


def _time(time: str) -> Markup:
    return fill('<time datetime="{time}">{shown}</time>', time=time, shown=time.replace("T", " ").replace("Z", " UTC"))


def _shown(path: str, root: str) -> str:
    """Return a path as the project writes it: relative where it lies below."""
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else path


def _place(reference: str, root: str) -> str:
    """Return a reference as `models.yaml` may write it."""
    scheme, colon, path = reference.partition(":")
    return f"file:{_shown(path, root)}" if colon and scheme == "local" else reference
