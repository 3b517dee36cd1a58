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
    return command_of_doit(line) if _by_doit else f"{PROGRAM} {line}"


def command_of_doit(line: str) -> str:
    """Return how doit runs such a line, whoever called."""
    name, _, rest = line.partition(" ")
    if name == "help" and rest:
        return f"doit help {_by_doits_name(rest)}"
    return f"doit {_by_doits_name(name)} {rest}".rstrip()


_COMMANDS = (
    "add|attest|check|completion|list|lock|mirror|path|provision|prune|publish|report|retire|schema|show|verify|why"
)
_CALLED = (
    rf"(?<![\w/.-])(?:doit ((?:help )?model-(?:{_COMMANDS})|(?:help )?provision)|"
    rf"{PROGRAM} ((?:help )?(?:{_COMMANDS})))(?![\w/.-])"
)


def as_called(text: str) -> str:
    """Return a text that an earlier process kept with its commands as the user calls them now."""
    if "doit" not in text and PROGRAM not in text:
        return text
    import re  # which no run needs that has nothing to do

    return re.sub(_CALLED, lambda found: command((found[1] or found[2]).replace("model-", "")), text)


def named(name: str) -> str:
    """Return what a command is called there, without the program: `lock`, or `model-lock`."""
    return _by_doits_name(name) if _by_doit else name


def by_doit() -> bool:
    """Tell whether doit called."""
    return _by_doit


def _by_doits_name(name: str) -> str:
    return name if name in {"provision", "help"} else f"model-{name}"
