"""`completion`: what a shell needs to complete a line, and the words that may come next in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from model_provisioner.cli.arguments import HELP
from model_provisioner.cli.declarations import COMMANDS
from model_provisioner.errors import InputError, ProvisionError
from model_provisioner.invocation import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.cli.command import Command
    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.config.entries import Config

_FUNCTION = "_" + PROGRAM.replace("-", "_")
_ASK = f"{PROGRAM} completion candidates --"
SCRIPTS = {
    "bash": f"""\
{_FUNCTION}() {{
    local word before="" line=() last=-1
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD}}"; do  # bash takes ":" and "=" as words of their own
        if [[ $last -lt 0 || ! ( $word == [:=]* || $before == *[:=] ) ]]; then last=$((last + 1)); fi
        line[last]+=$word before=$word
    done
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${{word#"${{line[last]%"${{line[last]##*[:=]}}"}}"}}")
    done < <({_ASK} "${{line[@]}}" 2>/dev/null)
    if [[ ${{#COMPREPLY[@]}} -eq 1 && ${{line[last]}}$COMPREPLY == *[:/] ]]; then compopt -o nospace 2>/dev/null; fi
}}
complete -o default -F {_FUNCTION} {PROGRAM}
""",
    "zsh": f"""\
#compdef {PROGRAM}
{_FUNCTION}() {{
    local -a found begun whole
    found=("${{(@f)$({_ASK} "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    begun=("${{(@M)found:#*[:/]}}") whole=("${{(@)found:#*[:/]}}")
    if [[ -n "$found" ]]; then compadd -S "" -a begun; compadd -a whole; else _files; fi
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
    flag, equals, _ = last.partition("=")
    for option in command.options:
        if option.kind != "flag" and (flag if equals else before[-1]) in {f"--{option.long}", f"-{option.short}"}:
            values = _VALUES.get(option.metavar, tuple)()  # of a file none: the shell knows them
            return [f"{flag}={value}" for value in values] if equals else values
    if last.startswith("-") and "--" not in before:
        return [*(f"--{option.long}" for option in command.options), HELP[1]]
    return _models() if _takes_models(command) else ()


def _takes_models(command: Command) -> bool:
    return "NAME" in command.names and "REF" not in command.names  # what is added is a file, and has no entry yet


def _models() -> Iterable[str]:
    return () if (config := _project()) is None else config.entries


def _states() -> Iterable[str]:
    from model_provisioner.records.lifecycle import Lifecycle

    return get_args(Lifecycle)


def _executors() -> Iterable[str]:
    from model_provisioner.hashing.executors.choose import kinds

    return [f"{kind}:" for kind in kinds()]


def _places() -> Iterable[str]:
    """Return the mirrors that are asked here and can be filled."""
    from model_provisioner.references.mirror import users_mirrors

    try:
        mirrors = users_mirrors()
    except ProvisionError:
        mirrors = None
    if mirrors is None:
        mirrors = () if (config := _project()) is None else config.mirrors
    return [str(each) for each in mirrors if each.kind != "https"]


def _project() -> Config | None:
    """Return the configuration of the project here; None where it can't be read, which the command itself will say."""
    from model_provisioner.cli.project import project_config
    from model_provisioner.config.load import parse_config, read_config

    try:
        path = project_config()
        return parse_config(read_config(path), path)
    except ProvisionError:
        return None


_VALUES = {"NAME": _models, "STATE": _states, "EXECUTOR": _executors, "PLACE": _places}
"""What the value of an option may be, or may begin with, by what its help calls it."""
