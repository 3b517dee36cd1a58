"""The page of `model-report`: one HTML file that needs nothing but itself, and is whole without its one script.

Everything that is shown goes through `markup.fill`. The page's own policy forbids requests, every style and script but its own,
and that its script makes markup of text.
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
from model_provisioner.cli.report_page.states import by_state
from model_provisioner.cli.report_page.summary import lead, tiles
from model_provisioner.cli.report_page.table import table
from model_provisioner.invocation import command as called
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import Report

_PAGE: LiteralString = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style_hash}'; script-src '{script_hash}'; \
img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'">
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
<a class="skip" href="#models">To the models</a>
<header>
<p class="over">Model report</p>
<h1>{project}</h1>
<p class="lead">{lead}</p>
<nav aria-label="Models by state"><ul class="tiles">{tiles}</ul></nav>
</header>
<main>
{sections}
</main>
<footer>
<p>Pinned: <code>models.yaml</code> or <code>models.lock</code> has the digests of the model and of its companions.</p>
<p>Made at <time id="made-at" datetime="{made_at}">{made_at}</time>, the one thing on this page that depends on the clock.</p>
<p>Project <code>{root}</code>, configuration <code>{config}</code>. model-provisioner {version}.</p>
<p>Nothing was read again for this page: it tells what the records say, and whether size and times of the files still agree.
<code>{in_full}</code> reads every byte.</p>
</footer>
<script>{script}</script>
</body>
</html>
"""


def page(report: Report) -> str:
    """Return the HTML of a report. The same report gives the same text."""
    style, script = _own("page.css"), _own("page.js")
    groups = by_state(report)
    count = {state: len(models) for state, models in groups.items()}
    sections = [
        (name, title, body)
        for name, title, body in (("models", "All models", table(report, groups)), ("disk", "Disk use", disk(report)))
        if body is not NOTHING
    ]
    return fill(
        _PAGE,
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        project=os.path.basename(report.root) or report.root,
        root=report.root,
        config=relative(report.config, report.root),
        version=__version__,
        made_at=report.made_at,
        in_full=called("provision --full"),
        lead=lead(count),
        tiles=tiles(count, report.size),
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


def _own(name: str) -> str:
    """Return a file that lies beside this one."""
    return resources.files("model_provisioner.cli.report_page").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what the page's policy calls a text of its own."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
