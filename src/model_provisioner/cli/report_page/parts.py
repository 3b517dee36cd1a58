"""What several sections of the page show: names, states, paths and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.report_page.markup import Markup, fill

if TYPE_CHECKING:
    from typing import LiteralString

    from model_provisioner.operations.report import ModelReport, Stands

NOTHING = Markup("")

WORDS: dict[Stands, tuple[LiteralString, LiteralString, LiteralString]] = {
    "failed": ("bad", "✕", "Failed"),
    "tolerated": ("bad", "!", "Mismatch, handed off"),
    "stale": ("warn", "↻", "To be done again"),
    "pending": ("warn", "…", "Not finished"),
    "new": ("idle", "○", "Not provisioned yet"),
    "retired": ("idle", "-", "Retired"),
    "current": ("good", "✓", "Verified"),
}
"""How each state looks: the class of the style, a symbol, and the words."""


def name_of(model: ModelReport) -> Markup:
    return fill("<span>{name}</span>", name=model.name)


def badge(model: ModelReport) -> Markup:
    kind, symbol, word = WORDS[model.stands]
    if model.stands == "current" and model.expected is None:
        word = "Verified, not pinned"
    return fill(
        '<span class="badge {kind}"><span aria-hidden="true">{symbol}</span> {word}</span>',
        kind=kind,
        symbol=symbol,
        word=word,
    )


def moment(time: str) -> Markup:
    return fill('<time datetime="{time}">{shown}</time>', time=time, shown=time.replace("T", " ").replace("Z", " UTC"))


def shown(path: str, root: str) -> str:
    """Return a path as the project writes it: relative where it lies below."""
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else path


def place(reference: str, root: str) -> str:
    """Return a reference as `models.yaml` may write it."""
    scheme, colon, path = reference.partition(":")
    return f"file:{shown(path, root)}" if colon and scheme == "local" else reference


def handoff_said(model: ModelReport) -> str:
    """Say how the handoff is."""
    if model.handoff_state == "none":
        return f"none for {model.engine}"
    return f"for {model.engine}" if model.handoff_state == "confirmed" else f"for {model.engine}, but not confirmed"
