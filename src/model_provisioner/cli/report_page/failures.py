"""The section of the page that tells what fails, and why: every error whole, with its fix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import Markup, fill, joined
from model_provisioner.cli.report_page.parts import NOTHING, badge, name_of, place

if TYPE_CHECKING:
    from model_provisioner.operations.report import Report


def failures(report: Report) -> Markup:
    failed = [model for model in report.models if model.error is not None]
    parts = [
        fill(
            '<article class="failure" id="why-{id}"><h3>{name} {badge}</h3>\n'
            '<p class="ref"><code>{reference}</code></p>\n{error}</article>',
            id=model.name,
            name=name_of(model),
            badge=badge(model),
            reference=place(model.reference, report.root),
            error=_error(model.error or ""),
        )
        for model in failed
    ]
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
    return fill('<p class="what">{first}</p>{details}', first=first, details=details)
