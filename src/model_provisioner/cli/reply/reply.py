"""What a command answers: text for people as it comes, or with `--json` one document at its end, however it ends.

The document is described in `docs/reference/json.md`.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.errors import ProvisionError

SCHEMA_VERSION = 1


class Reply:
    """The answer of a command, which fills it in as it goes on: what is in it is not lost where the command breaks off."""

    def __init__(self, command: str | None, *, is_json: bool) -> None:
        """Take the command's name, None where the line names none that there is."""
        self.command = command
        self.is_json = is_json
        """Whether a document is asked for, and no text."""
        self.models: list[dict[str, Any]] = []
        """See `fields.model_fields`."""
        self.errors: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        """What only this command tells."""

    def say(self, *lines: str) -> None:
        """Print lines for people, at once."""
        if not self.is_json:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()

    def say_bytes(self, data: bytes) -> None:
        """Print for people what has an encoding of its own, whatever the terminal's."""
        if not self.is_json:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def add_error(self, error: ProvisionError, model: str | None = None) -> None:
        """Add an error, of a model or of none."""
        from model_provisioner.cli.reply.fields import errors_of

        self.errors += errors_of(error, model)

    def add_end(self, code: str, what: str, model: str | None = None, found: str = "") -> None:
        """Add what is no error of ours: an interruption, a mistake or a failed task that doit words."""
        from model_provisioner.cli.reply.fields import error_fields

        self.errors.append(error_fields(code, what, model, found=found))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep standard output for the document: what else is printed in the block, by whatever program, goes to stderr."""
        if not self.is_json:
            yield
            return
        out = sys.stdout
        with _descriptor_aside(out):
            sys.stdout = sys.stderr
            try:
                yield
            finally:
                sys.stdout = out

    def close(self, exit_code: int) -> None:
        """Print the document, if one is asked for. Raises `OSError`."""
        if self.is_json:
            from model_provisioner.cli.output import print_lines, to_json

            document = {
                "schema_version": SCHEMA_VERSION,
                "command": self.command,
                "exit_code": exit_code,
                "models": self.models,
                "errors": self.errors,
                "result": self.result,
            }
            print_lines([to_json(document)])


@contextmanager
def _descriptor_aside(out: Any) -> Iterator[None]:
    """Let the descriptor of standard output lead to stderr in the block, if there are such descriptors."""
    kept = None
    with suppress(OSError, ValueError):
        out.flush()
        kept = os.dup(number := out.fileno())
        os.dup2(sys.stderr.fileno(), number)
    try:
        yield
    finally:
        if kept is not None:
            os.dup2(kept, number)
            os.close(kept)
