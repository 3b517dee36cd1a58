"""`completion`: what a shell needs to complete a line, and the words that may come next in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.arguments import HELP
from model_provisioner.cli.declarations import COMMANDS
from model_provisioner.errors import InputError, ProvisionError
from model_provisioner.invocation import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.cli.command import Command
    from model_provisioner.cli.reply.reply import Reply

_FUNCTION = "_" + PROGRAM.replace("-", "_")
_ASK = f"{PROGRAM} completion candidates --"
SCRIPTS = {
    "bash": f"""\
{_FUNCTION}() {{
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <({_ASK} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null)
}}
complete -o default -F {_FUNCTION} {PROGRAM}
""",
    "zsh": f"""\
#compdef {PROGRAM}
{_FUNCTION}() {{
    local -a found
    found=("${{(@f)$({_ASK} "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}}
(( $+functions[compdef] )) && compdef {_FUNCTION} {PROGRAM}
""",
    "fish": f"""\
complete -c {PROGRAM} -a '({_ASK} (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
""",
}
"""What each shell reads, as `eval "$(…)"` or from a file of completions."""


def run(reply: Reply, names: Sequence[str]) -> int:
    """Print the script of a shell, or the words that may come next: one a line."""
    first, *words = names or [""]
    if first == "candidates":
        reply.result = {"candidates": (found := candidates(words))}
        reply.say(*found)
        return 0
    if first not in SCRIPTS or words:
        raise InputError(
            "completion takes the name of a shell",
            where="the command line",
            expected=" or ".join(SCRIPTS),
            found=" ".join(names) or "none",
            fix="model-provisioner completion bash",
        )
    reply.result = {"script": SCRIPTS[first]}
    reply.say(*SCRIPTS[first].splitlines())
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """Return what the last of `words`, which may be a part of one or empty, may be."""
    *before, last = words or [""]
    return sorted(word for word in _next(before, last) if word.startswith(last))


def _next(before: Sequence[str], last: str) -> Iterable[str]:
    if not before:
        return [*COMMANDS, "help", "--version", HELP[1]]
    if before[0] == "help":
        return COMMANDS
    if (command := COMMANDS.get(before[0])) is None:
        return ()
    if command.name == "completion":
        return SCRIPTS
    for option in command.options:
        if option.kind != "flag" and before[-1] in {f"--{option.long}", f"-{option.short}"}:
            return _models() if option.metavar == "NAME" else ()  # a file: the shell knows them
    if last.startswith("-") and "--" not in before:
        return [*(f"--{option.long}" for option in command.options), HELP[1]]
    return _models() if _takes_models(command) else ()


def _takes_models(command: Command) -> bool:
    return "NAME" in command.names and "REF" not in command.names  # what is added is a file, and has no entry yet


def _models() -> Iterable[str]:
    """Return the names of the project's entries; none where it can't be read, which the command itself will say."""
    from model_provisioner.cli.project import project_config
    from model_provisioner.config.load import parse_config, read_config

    try:
        path = project_config()
        return parse_config(read_config(path), path).entries
    except ProvisionError:
        return ()
