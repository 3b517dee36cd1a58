"""The help of the program, and of each command under either name."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING

from model_provisioner.cli.columns import width_of
from model_provisioner.invocation import PROGRAM
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.cli.command import Command

_WIDEST = 100
_INDENT = 2


def help_of(command: Command) -> str:
    """Return the help of a command: usage, purpose, a line for each option, an example."""
    width = _width()
    usage = _filled_usage(f"usage: {called(command.name)} {command.usage}", width)
    purpose = textwrap.fill(command.purpose, width)
    described = [textwrap.fill(part, width) for part in command.description.split("\n\n") if part]
    options = [
        (f"{f'-{each.short}, ' if each.short else ''}--{each.long}", each.metavar, each.help)
        for each in command.options
    ]
    rows = [
        (f"{flags} {metavar}".rstrip(), text)
        for flags, metavar, text in (*options, ("-h, --help", "", "show this help"))
    ]
    example = f"example: {called(f'{command.name} {command.example}'.rstrip())}"
    return "\n\n".join([usage, purpose, *described, _table(rows, width), example]) + "\n"


def help_of_program(commands: Iterable[Command]) -> str:
    """Return the help of the program: what it is for, its commands, how to begin."""
    width = _width()
    rows = [(command.name, command.purpose) for command in commands]
    return (
        "\n\n".join(
            [
                f"usage: {PROGRAM} COMMAND [NAME...] [OPTION...]",
                textwrap.fill("An incremental build for model files: fetch, verify, hand off to an engine.", width),
                _table([*rows, ("help COMMAND", "show what a command takes, with an example")], width),
                textwrap.fill(
                    f"{PROGRAM} --version prints the version. To begin: {PROGRAM} add model.gguf, then {PROGRAM} provision.",
                    width,
                ),
            ]
        )
        + "\n"
    )


def _filled_usage(text: str, width: int) -> str:
    """Return a usage in lines, none of which ends between an option and its value."""
    joined = re.sub(r"\[[^\[\]]*\]", lambda found: found[0].replace(" ", "\0"), text)
    return textwrap.fill(joined, width, subsequent_indent=" " * 7, break_on_hyphens=False).replace("\0", " ")


def _table(rows: Iterable[tuple[str, str]], width: int) -> str:
    rows = list(rows)
    column = min(max(len(name) for name, _ in rows), 24) + 2 * _INDENT
    lines = []
    for name, text in rows:
        head = f"{' ' * _INDENT}{name}"
        indent = " " * column
        filled = textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
        # A name that is as wide as its column has a line of its own.
        lines.append(f"{head}\n{filled}" if len(head) > column - _INDENT else head + filled[len(head) :])
    return "\n".join(lines)


def _width() -> int:
    return max(40, min(width_of(sys.stdout) or 80, _WIDEST))
