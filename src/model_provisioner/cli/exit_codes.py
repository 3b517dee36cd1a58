"""How a command ends: one exit code for each kind of end, one paragraph on stderr, no traceback for a user's mistake.

doit imports this module for its help: only the standard library stands at its top.
"""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.errors import ProvisionError
    from model_provisioner.fs.locking.holder import Holder

BROKEN = 2
MISTAKEN = 3
INTERRUPTED = 130

_PLAIN = "model-provisioner"
_SIGNS = {"→": "->", "…": "..."}
"""The signs of our own messages that ASCII does not have."""


def exit_code_of(
    command: Callable[[], int],
    *,
    interrupted: str,
    reply: Reply | None = None,
    passing: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command and print the document of its `reply`, if it has one; return its exit code, however it ends.

    `interrupted` is said where Ctrl-C, SIGTERM or SIGHUP ended it. Errors of the types `passing` are raised: the caller
    words them, as bad input.
    """
    from model_provisioner.fs.locking.waits import waits_told

    prepare_streams()
    code = BROKEN
    passed: BaseException | None = None
    try:
        with _signals_interrupt():
            try:
                with nullcontext() if reply is None else reply.alone(), waits_told(_show_wait):
                    code = command()
                    sys.stdout.flush()
            except BaseException as error:  # noqa: BLE001  whatever ends it, its document says so
                if isinstance(error, (*passing, SystemExit)):
                    passed, code = error, _code_of_passed(error, reply)
                else:
                    code = _tell(error, interrupted, reply)
            if reply is not None:
                reply.close(code)
                sys.stdout.flush()
    except BrokenPipeError:
        pass  # who reads our output has seen enough
    except (OSError, KeyboardInterrupt) as error:  # while the document was printed
        code = _tell(error, interrupted, None)
    _give_up_output()
    if passed is not None:
        raise passed
    return code


def _tell(error: BaseException, interrupted: str, reply: Reply | None) -> int:
    """Say on stderr what ended a command, and put it into its document; return the exit code."""
    if isinstance(error, BrokenPipeError):
        return 0  # who reads our output has seen enough
    if (worded := _worded(error)) is not None:
        _say(f"ERROR: {worded}")
        if reply is not None:
            reply.add_error(worded)
        return worded.exit_code
    if isinstance(error, KeyboardInterrupt):
        _say(interrupted)
        code, name, told, found = INTERRUPTED, "Interrupted", interrupted, ""
    elif isinstance(error, OSError):
        told, found = "the output could not be written", error.strerror or str(error)
        _say(f"ERROR: {told}\n  found     {found}")
        code, name = BROKEN, type(error).__name__
    else:  # an error of ours, which a report should hold whole
        import traceback

        traceback.print_exception(error)
        code, name, told, found = BROKEN, "InternalError", "an error that nobody foresaw", repr(error)
    if reply is not None:
        reply.add_end(name, told, found=found)
    return code


def _worded(error: BaseException) -> ProvisionError | None:
    """Return an error as the user is told it; None for one that nobody foresaw."""
    from model_provisioner.errors import InputError, ProvisionError
    from model_provisioner.references.file_names import UTF8_FIX

    if isinstance(error, ProvisionError):
        return error
    if isinstance(error, UnicodeEncodeError):  # of a path: whatever is printed can be encoded
        return InputError(
            "the locale has no bytes for the name of a file",
            where="the environment: LC_ALL, LC_CTYPE or LANG",
            expected=f"characters that {sys.getfilesystemencoding()} has",
            found=str(error.object),
            fix=UTF8_FIX,
        )
    return None


def _code_of_passed(error: BaseException, reply: Reply | None) -> int:
    """Return the exit code of what the caller words, or of code of the project that ended the program."""
    code, told, found = MISTAKEN, str(error), ""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        told, found = "code of the project ended the program", f"SystemExit: {error}"
    if reply is not None:
        reply.add_end(type(error).__name__, told, found=found)
    return code


def _show_wait(path: str, holder: Holder | None) -> None:
    from model_provisioner.cli.progress import show_wait  # it brings along what few commands need

    show_wait(path, holder)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does."""
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted and number != signal.SIGALRM:
            os.write(2, b"\n")
            os._exit(INTERRUPTED)  # who asks twice does not want to wait for what is being cleaned up
        interrupted = True
        raise KeyboardInterrupt

    def again(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            unraisable(lost)

    before, unraisable = {}, sys.unraisablehook
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                before[number] = signal.signal(number, interrupt)
        # A signal that comes while Python runs a callback of its collector interrupts nothing: it is sent once more.
        sys.unraisablehook = again
    try:
        yield
    finally:
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = unraisable
        for number, handler in before.items():
            # What Python does at the end of an interrupted process is not to be interrupted with a traceback either.
            if not (interrupted and number == signal.SIGINT):
                signal.signal(number, handler)


def _say(text: str) -> None:
    """Write it to stderr, if anybody can read that."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def prepare_streams() -> None:
    """Make output possible where it was closed, and every text printable in any encoding."""
    codecs.register_error(_PLAIN, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  for the life of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_PLAIN)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is printed for letters that an encoding does not have: our own signs in plain ones, others by their code."""
    if not isinstance(error, UnicodeEncodeError):
        return codecs.backslashreplace_errors(error)
    if (sign := _SIGNS.get(error.object[error.start])) is not None:
        return sign, error.start + 1
    error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


def _give_up_output() -> None:
    """Discard what nobody can read, so that Python does not complain of it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Patient:
    """A stream that goes silent when nobody reads it any more: the work is done all the same."""

    def __init__(self, stream: TextIO | None) -> None:
        """Take a stream, or None for one that is silent from the start."""
        self._stream = stream

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
