"""How answers are printed: JSON, lines, paths."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.run import Run
    from model_provisioner.hashing.executors.window import Window

    class Stream(Protocol):
        """What lines are printed on."""

        def write(self, text: str, /) -> object:
            """Write it."""

        def flush(self) -> None:
            """Let it be seen."""


def to_json(value: object) -> str:
    """Return a JSON document as every command prints it: indented, with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True)


def print_lines(lines: Iterable[str], stream: Stream | None = None) -> None:
    """Print lines at once, on stdout or another stream."""
    stream = stream or sys.stdout
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def withdrawn(record: EntryRun) -> str:
    """Say that the handoff of an entry is gone."""
    why = "; ".join(reason.text for reason in record.why or () if not reason.follows)
    if not why and record.error is not None:
        why = record.error.what
    return f"{record.name}  its handoff was withdrawn" + (f" ({printable(why)})" if why else "")


def removed(path: str) -> str:
    """Say that an artifact is gone that no entry claims."""
    return f"{printable(relative(path))}  removed: no entry of models.yaml claims it"


def warn_of_withdrawn(run: Run, told: set[str]) -> list[EntryRun]:
    """Name on stderr what a run withdrew and did not write again; return the entries whose handoff that is.

    What is in `told`, names and paths, was said before; the rest comes into it. It never fails, for it may be said while an
    error is on its way.
    """
    orphans = [path for path in run.orphans if path not in told]
    lost = [record for record in run.lost if record.name not in told]
    told.update(orphans, (record.name for record in lost))
    with suppress(OSError):
        print_lines((f"gone  {removed(path)}" for path in orphans), sys.stderr)
        print_lines((f"WARNING: {withdrawn(record)}" for record in lost), sys.stderr)
    return lost


def note_read_here(window: Window | None) -> None:
    """Say on stderr which files were read here though workers were to read them. It never fails, as `warn_of_withdrawn`."""
    if window is None or not window.read_here:
        return
    (path, why), *others = window.read_here.items()
    left = len(others) + window.more_read_here
    more = f", and {left} more" if left else ""
    with suppress(OSError):
        print_lines([f"note: read by this machine: {printable(relative(path))} ({printable(why)}){more}"], sys.stderr)


def relative(path: str, folder: str | None = None) -> str:
    """Return a path as it is written in a folder, by default the working directory: relative where it lies below."""
    folder = os.getcwd() if folder is None else folder
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else path
