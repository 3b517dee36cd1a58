"""All that is known of one model, behind its line of the table: what is wrong and where it stops come first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model_provisioner.cli.output import relative
from model_provisioner.cli.report_page.chain import chain
from model_provisioner.cli.report_page.markup import NOTHING, Markup, fill, joined
from model_provisioner.cli.report_page.states import state_of
from model_provisioner.cli.report_page.words import (
    companion_in_words,
    digest_in_words,
    handoff_in_words,
    header_in_words,
    how_read,
    moment,
    reference_in_words,
    signature_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import LiteralString

    from model_provisioner.operations.model_report import ModelReport
    from model_provisioner.records.catalog.catalog import Transition

MOVES = 5
"""How many of a model's last moves the page shows."""
LONG = 30
"""From how many characters on a name may be cut short in the table, so that the details have it whole."""

_FIELD = re.compile(r"  (where|expected|found|fix) +(.*)")
_FACT: LiteralString = "<div><dt>{name}</dt><dd>{value}</dd></div>"


def details(model: ModelReport, root: str, opened: bool) -> Markup:
    """Return the details of a model; `opened` if they are to be seen from the start."""
    wrong = NOTHING if state_of(model).in_order else chain(model, root)
    error = (model.error or "").splitlines()
    why = error[0] if error else "; ".join(model.why) if wrong is not NOTHING else ""
    return fill(
        "<details{opened}><summary><i>Details of {name}</i>{why}</summary>{error}{wrong}<dl>{facts}</dl></details>",
        opened=fill(" open") if opened else NOTHING,
        name=model.name,
        why=fill(" <em>{why}</em>", why=why) if why else NOTHING,
        error=_error(error[1:]),
        wrong=wrong,
        facts=joined(
            fill(_FACT, name=name, value=value) for name, value in _facts(model, root) if value is not NOTHING
        ),
    )


def _error(lines: Sequence[str]) -> Markup:
    """Return what comes after the first line of an error: the fields of `errors.ProvisionError`."""
    if not lines:
        return NOTHING
    matches = [(_FIELD.fullmatch(line), line.strip()) for line in lines]
    return fill(
        '<dl class="error">{fields}</dl>',
        fields=joined(
            fill(
                "<div{kind}><dt>{label}</dt><dd>{value}</dd></div>",
                kind=fill(' class="fix"') if match is not None and match[1] == "fix" else NOTHING,
                label=match[1].capitalize() if match is not None else "",
                value=match[2] if match is not None else line,
            )
            for match, line in matches
        ),
    )


def _facts(model: ModelReport, root: str) -> Iterable[tuple[LiteralString, Markup]]:
    """Yield what is known of a model, each with its name; nothing where it is not known."""
    row, in_order = model.row, state_of(model).in_order
    yield "Name", _text(model.name if len(model.name) >= LONG else "")
    if in_order:  # else the chain says so
        yield "Reference", _code(reference_in_words(model.reference, root))
    yield "Path", _code("" if model.reference.startswith("local:") else model.path or "")
    yield "Files", _text(f"{len(model.files):,}" if len(model.files) > 1 else "")
    yield "Header", _text(header_in_words(model))
    if row is not None and row.digest is not None and row.digest not in (model.error or ""):
        yield "Digest", digest_in_words(row.digest, model.expected, row.outcome)
        yield "Expected", _code("" if in_order else model.expected or "")
    yield "Last read", NOTHING if row is None else how_read(model)
    if in_order:
        yield (
            "Handoff",
            fill("<code>{path}</code> {said}", path=relative(model.handoff, root), said=handoff_in_words(model)),
        )
    for companion in model.companions:
        yield "Companion", companion_in_words(companion, root)
    if model.signature is not None:
        yield "Signature", signature_in_words(model.signature, root)
    yield "History", _history(model.history)


def _text(text: str) -> Markup:
    return fill("{text}", text=text) if text else NOTHING


def _code(text: str) -> Markup:
    return fill("<code>{text}</code>", text=text) if text else NOTHING


def _history(moves: Sequence[Transition]) -> Markup:
    """Return the last moves of a model, in the order in which they happened."""
    if not moves:
        return NOTHING
    before = len(moves) - MOVES
    return fill(
        "<ol>{before}{moves}</ol>",
        before=fill("<li>{count} before</li>", count=f"{before} {'move' if before == 1 else 'moves'}")
        if before > 0
        else NOTHING,
        moves=joined(
            fill(
                "<li>{time} {state}{reason}</li>",
                time=moment(moved.time),
                state=moved.lifecycle,
                reason=f": {moved.reason}" if moved.reason else "",
            )
            for moved in moves[-MOVES:]
        ),
    )
