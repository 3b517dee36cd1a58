"""What a command is: its name, what it takes, what it is for, and how it is called. Those that there are stand in
`cli/declarations.py`.

Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from model_provisioner.cli.reply.reply import Reply

    Kind = Literal["flag", "value", "values"]

_DEFAULTS: dict[Kind, object] = {"flag": False, "value": None, "values": []}


class Option:
    """An option of a command."""

    __slots__ = ("help", "kind", "long", "metavar", "name", "short")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002  as argparse and doit name it
        kind: Kind = "flag",
        metavar: str = "",
        *,
        short: str = "",
        long: str = "",
    ) -> None:
        self.name = name
        """As `run` takes it, and as settings of doit name it."""
        self.help = help
        self.kind = kind
        """`values` may be given several times."""
        self.metavar = metavar
        self.short = short
        """One letter, or nothing."""
        self.long = long or name.replace("_", "-")
        """The option as it is written, without its dashes."""

    @property
    def default(self) -> object:
        """What `run` gets where the option is not given."""
        return _DEFAULTS[self.kind]

    @property
    def usage(self) -> str:
        """The option in a line of usage."""
        flag = f"-{self.short}" if self.short else f"--{self.long}"
        return f"[{flag} {self.metavar}]{'...' if self.kind == 'values' else ''}" if self.metavar else f"[{flag}]"


JSON = Option("json", "print one JSON document, on errors too")


class Command:
    """A command, as help shows it and as a line of arguments is read."""

    __slots__ = ("description", "example", "interrupted", "is_query", "name", "names", "options", "purpose")

    def __init__(
        self,
        *,
        name: str,
        purpose: str,
        options: tuple[Option, ...],
        example: str,
        names: str = "",
        description: str = "",
        interrupted: str = "interrupted",
        is_query: bool = False,
    ) -> None:
        self.name = name
        self.purpose = purpose
        """One line."""
        self.options = options if JSON in options else (*options, JSON)
        """Every command takes `--json`."""
        self.example = example
        """What follows the name of the command in an example."""
        self.names = names
        """The names that it takes, in a line of usage; an empty text where it takes none."""
        self.description = description
        self.interrupted = interrupted
        """What is said where Ctrl-C, SIGTERM or SIGHUP ended it."""
        self.is_query = is_query
        """Whether it tells what is known and changes nothing."""

    @property
    def module(self) -> str:
        """The module that has its `run`."""
        return f"model_provisioner.cli.commands.{'queries.' if self.is_query else ''}{self.name}"

    @property
    def usage(self) -> str:
        """The arguments, in one line."""
        return " ".join(filter(None, (self.names, *(option.usage for option in self.options))))

    def run(self, names: Sequence[str], options: Mapping[str, object], reply: Reply) -> int:
        """Do what it is for, fill in the reply and return the exit code.

        `options` has a value for each option by its name; others are ignored. Raises `ProvisionError`.
        """
        from importlib import import_module

        # Whether JSON is asked for, the reply knows: it is also asked where a line can't be read.
        values = {option.name: options[option.name] for option in self.options if option is not JSON}
        code: int = import_module(self.module).run(reply, list(names), **values)
        return code
