"""A line of arguments as its command declares them: options anywhere, names between them, `--` before names with a dash.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

from model_provisioner.cli.command import JSON
from model_provisioner.errors import InputError
from model_provisioner.invocation import command as called

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.cli.command import Command, Option

HELP = ("-h", "--help")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Tell whether a line asks what a command takes."""
    return any(argument in HELP for argument in _options(arguments))


def asks_for_json(command: Command | None, arguments: Sequence[str]) -> bool:
    """Tell whether a line asks for JSON, also one that can't be read; `command` is None where it names none that there is."""
    flags = (argument.partition("=")[0] for argument in _options(arguments))
    return not asks_for_help(arguments) and any(
        flag == f"--{JSON.long}" or (command is not None and flag[:2] == "--" and _meant(command, flag) == [JSON])
        for flag in flags
    )


def _options(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments among which options may be."""
    return arguments[: arguments.index("--") if "--" in arguments else None]


def _meant(command: Command, flag: str) -> list[Option]:
    """Return the options that a long one may mean: it may be shortened."""
    return [option for option in command.options if flag == f"--{option.long}"] or [
        option for option in command.options if f"--{option.long}".startswith(flag)
    ]


def parse(
    command: Command, arguments: Sequence[str], defaults: Mapping[str, object] | None = None
) -> tuple[list[str], dict[str, object]]:
    """Return the names, and the value of each option by its name: that of `defaults` where it is not given.

    Raises `InputError`.
    """
    values = {option.name: (defaults or {}).get(option.name, option.default) for option in command.options}
    names: list[str] = []
    left = list(arguments)[::-1]
    while left:
        argument = left.pop()
        if argument == "--":
            names += left[::-1]
            break
        if argument == "-" or not argument.startswith("-"):
            names.append(argument)
            continue
        option, given = _option(command, argument)
        if option.kind == "flag":
            if given is not None:
                raise _refused(command, f"{argument.partition('=')[0]} takes no value", found=argument)
            values[option.name] = True
            continue
        if given is None and not left:
            raise _refused(
                command, f"{argument} needs a value", expected=option.usage.strip("[]."), found="nothing after it"
            )
        value = left.pop() if given is None else given
        before = values[option.name]
        values[option.name] = [*before, value] if isinstance(before, list) else value
    if names and not command.names:
        raise _refused(command, f"{_named(command)} takes no names", found=" ".join(names))
    return names, values


def _option(command: Command, argument: str) -> tuple[Option, str | None]:
    """Return the option that an argument begins, and the value that is part of it."""
    flag, equals, value = argument.partition("=")
    if flag.startswith("--"):
        found = _meant(command, flag)
        if len(found) == 1:
            return found[0], value if equals else None
        if found:
            raise _refused(
                command,
                f"{flag} may be several options",
                expected=" or ".join(f"--{each.long}" for each in found),
                found=flag,
            )
    else:
        for option in command.options:
            if option.short and option.short == argument[1]:
                return option, argument[2:] or None
    raise unknown_option(command, flag)


def unknown_option(command: Command, flag: str) -> InputError:
    """Return the error for an option that a command does not have; it names the nearest that it has."""
    near = nearest(flag, [f"--{option.long}" for option in command.options])
    if not near and command.names:
        from model_provisioner.fs.paths import may_be_there

        near = f"the file: ./{flag}" if may_be_there(flag) else ""
    return _refused(command, f"{_named(command)} has no option {flag}", found=flag, near=near)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the one of `words` that is most like `word`, an empty text where none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(words))), "")


def _named(command: Command) -> str:
    """Return what the user calls a command: `lock`, or under doit `model-lock`."""
    return called(command.name).partition(" ")[2]


def _refused(command: Command, what: str, *, found: str, expected: str = "", near: str = "") -> InputError:
    fix = f"did you mean {near}?" if near else f"see `{called(f'help {command.name}')}`"
    expected = expected or "the options and names as its help shows them"
    return InputError(what, where="the command line", expected=expected, found=found, fix=fix)
