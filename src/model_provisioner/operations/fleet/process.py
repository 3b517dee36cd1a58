"""A process of its own for what is asked of the fleet's database, with a deadline that holds whatever the peer does.

A server that falls silent in the middle of an answer holds its client for ever, whatever time-outs the client has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner import errors
from model_provisioner.errors import FleetError
from model_provisioner.invocation import by_doit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.operations.fleet.address import FleetAddress

_WORKER = "model_provisioner.operations.fleet.worker"


@dataclass(frozen=True)
class Question:
    """What the process is to do: `job` names it, `values` are what it needs."""

    job: str
    values: Mapping[str, Any]


def ask(address: FleetAddress, question: Question, seconds: float) -> dict[str, Any]:
    """Have a process do what is asked; return its answer. It is killed after `seconds`, and when this call is interrupted.

    If this process is killed, that one ends as well. Raises `FleetError`, and what else the process raised.
    """
    # -P: the working directory, perhaps a clone of anybody's project, is no place to import from.
    command = [sys.executable, "-P", "-m", _WORKER]
    place = {"url": address.url, "shown": address.shown, "by_doit": by_doit()}
    with (
        _open_while_we_live() as pipe,
        subprocess.Popen(  # noqa: S603  our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(pipe,),
            start_new_session=True,  # Ctrl-C is for us alone
        ) as process,
    ):
        asked = {"job": question.job, "seconds": seconds, "pipe": pipe, **place, **question.values}
        try:
            out, err = process.communicate(json.dumps(asked).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            raise _late(address, question.job, seconds, _lines(out)) from None
        except BaseException:
            process.kill()
            raise
    answer = (_lines(out) or [{}])[-1]
    if (told := answer.get("error")) is not None:
        raise getattr(errors, told.pop("kind"))(told.pop("what"), **told)
    if process.returncode or "answer" not in answer:
        raise FleetError(
            "the process that talks to the fleet's database came to an end that nobody foresaw",
            where=address.shown,
            expected="an answer",
            found=_last_line(err, address) or f"exit code {process.returncode}",
            fix="run it again; if it comes back, report it with this message",
        )
    found: dict[str, Any] = answer["answer"]
    return found


@contextmanager
def _open_while_we_live() -> Iterator[int]:
    """Give the end of a pipe on which a reader meets the end of file when this block ends, or this process."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def _lines(out: bytes) -> list[dict[str, Any]]:
    """Return the documents of the lines that are whole."""
    return [json.loads(line) for line in out.split(b"\n")[:-1]]


def _late(address: FleetAddress, job: str, seconds: float, told: list[dict[str, Any]]) -> FleetError:
    sent = len([each for each in told if "sent" in each])
    return FleetError(
        "the fleet's database did not answer in time",
        where=address.shown,
        expected=f"an answer within {seconds:g} s",
        found=f"silence, after {sent} project{'s' if sent != 1 else ''} had arrived" if sent else "silence",
        fix="look whether it is up and in reach, or give it longer: --timeout 5m; what arrived stays, and the rest comes with "
        "the next publish"
        if job == "publish"
        else "look whether it is up and in reach, and ask again",
    )


def _last_line(err: bytes, address: FleetAddress) -> str:
    lines = err.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].replace(address.url, address.shown)[:200] if lines else ""
