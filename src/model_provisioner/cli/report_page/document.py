"""The page of `doit model-report`: one HTML file that needs nothing but itself, and runs nothing.

Everything that is shown goes through `markup.fill`; the page's own policy forbids scripts, requests and any style but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.cli.report_page.disk import disk
from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.cli.report_page.models import failures, graph, table
from model_provisioner.cli.summary import models
from model_provisioner.units import human
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import Report, Stands


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
    style = resources.files("model_provisioner.cli.report_page").joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    sections = [
        (name, title, body)
        for name, title, body in (
            ("fails", "What fails, and why", failures(report)),
            ("graph", "From reference to handoff", graph(report)),
            ("disk", "Disk use", disk(report)),
            ("models", "All models", table(report)),
        )
        if body is not NOTHING
    ]
    return fill(
        _PAGE,
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        project=os.path.basename(report.root) or report.root,
        root=report.root,
        config=relative(report.config, report.root),
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


def _lead(report: Report) -> Markup:
    counts, total = report.counts, len(report.models)
    if not total:
        return fill("models.yaml names no model yet.")
    good = counts["current"]
    if good == total:
        lead = fill(
            "{all} verified and handed off.", all="The one model is" if total == 1 else f"All {total:,} models are"
        )
    else:
        lead = fill(
            "{good} of {total} verified and handed off; {rest}.",
            good=f"{good:,}",
            total=f"{total:,} {models(total)}",
            rest=", ".join(f"{counts[each]:,} {word}" for each, word in _REST.items() if counts[each]),
        )
    free = sum(model.stands == "current" and model.expected is None for model in report.models)
    if not free:
        return lead
    note = fill(" {count} {verb} no expected digest yet.", count=f"{free:,}", verb="has" if free == 1 else "have")
    return joined((lead, note))


_REST: dict[Stands, str] = {
    "failed": "failed",
    "tolerated": "handed off in spite of a mismatch",
    "stale": "to be done again",
    "pending": "not finished",
    "new": "not provisioned yet",
    "retired": "retired",
}


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
