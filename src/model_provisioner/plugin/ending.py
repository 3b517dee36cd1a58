"""How a command of ours ends: one exit code for each kind of end, one paragraph on stderr, no traceback for a user's mistake.

Every doit command in the environment imports this module: only doit and the standard library stand at its top.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from doit.cmdparse import CmdParseError
from doit.dependency import DatabaseException
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
BROKEN = 2


def ended(command: Callable[[], int], *, interrupted: str) -> int:
    """Return the exit code of `command`, however it ends; `interrupted` is said where it was.

    What doit itself words, a mistake on the command line or in `dodo.py`, is raised for it to word.
    """
    from model_provisioner.errors import ProvisionError

    _prepare_streams()
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say(interrupted)
        code = INTERRUPTED
    except ProvisionError as error:
        _say(f"ERROR: {error}")
        code = error.exit_code
    except (CmdParseError, InvalidCommand, InvalidDodoFile, InvalidTask) as error:
        if not isinstance(error.__cause__, ProvisionError):
            raise
        _say(f"ERROR: {error}")
        code = error.__cause__.exit_code
    except DatabaseException as error:
        _say(
            f"ERROR: the file in which doit keeps its state can't be used: {error}\n"
            "  fix       free some space if its disk is full, wait if another run holds it; it may be deleted at any time"
        )
        code = BROKEN
    except BrokenPipeError:
        code = 0  # who reads our output has seen enough
    except OSError as error:
        _say(f"ERROR: the output could not be written\n  found     {error.strerror or error}")
        code = BROKEN
    except Exception:  # noqa: BLE001  an error of ours, which a report should hold whole
        traceback.print_exc()
        code = BROKEN
    _give_up_output()
    return code


def _say(text: str) -> None:
    """Say it on stderr, if anybody can hear it."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _prepare_streams() -> None:
    """Make output possible where it was closed, and every text printable in any encoding."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  for the life of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Let what nobody can read go, so that Python does not complain of it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Patient:
    """A stream that goes silent when nobody reads it any more: the work is done all the same."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text` if that can be done."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Every text is flushed as it is written."""
