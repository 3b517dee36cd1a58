"""How the user calls this program: by its own name, or by doit. Messages name commands as they are called there."""

from __future__ import annotations

PROGRAM = "model-provisioner"

_by_doit = False


def called_by_doit(yes: bool) -> None:
    """Say which of the two this process was called by. A process that was not told was called by the program's name."""
    global _by_doit  # noqa: PLW0603  it is the process that is called
    _by_doit = yes


def command(line: str) -> str:
    """Return how the user runs a line that begins with the name of a command: `lock --upgrade NAME`."""
    if not _by_doit:
        return f"{PROGRAM} {line}"
    name, _, rest = line.partition(" ")
    if name == "help" and rest:
        return f"doit help {_by_doits_name(rest)}"
    return f"doit {_by_doits_name(name)} {rest}".rstrip()


def _by_doits_name(name: str) -> str:
    return name if name in {"provision", "help"} else f"model-{name}"
