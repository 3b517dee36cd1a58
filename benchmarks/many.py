"""Many small models, and one: first runs and runs with nothing to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from measure import Comparison, Pairs
from peers import DVC, NINJA, SHA256SUM, Dvc, Ninja, PlainDoit
from process import run
from projects import BY_PROGRAM, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = 3
MANY = 10_000
DVC_AT_MOST = 1000
"""It takes minutes to take more under its control."""


def startup(folder: Path) -> Iterator[Comparison]:
    """Compare what is the least that there can be: an import, and a run of one model that is current."""
    yield Comparison(
        what="`import model_provisioner`",
        against="`python -c pass`",
        reach="≤ 40 ms more",
        ours=lambda: run([sys.executable, "-c", "import model_provisioner"], folder),
        theirs=lambda: run([sys.executable, "-c", "pass"], folder),
        notes=lambda pairs: f"{pairs.more * 1e3:+.1f} ms",
    )
    project, plain = Project(folder / "one", 1), PlainDoit(folder / "one-task", 1)
    program = Project(folder / "one-by-program", 1, command=BY_PROGRAM)
    for name, ours, reach in (("doit provision", project, "≤ 1.2"), ("model-provisioner provision", program, "≤ 0.3")):
        yield Comparison(
            what=f"no-op, one model, `{name}`",
            against="doit, one task that is up to date",
            reach=reach,
            prepare=(ours.ready, plain.ready),
            ours=ours.again,
            theirs=plain.run,
            notes=_memory,
        )
    for what, reach, ours in (
        ("no-op", "≤ 35 ms more", program.again),
        ("first run", "≤ 200 ms more", program.first),
    ):
        yield Comparison(
            what=f"{what}, one model, `model-provisioner provision`",
            against="`python -c pass`",
            reach=reach,
            prepare=(program.ready,),
            ours=ours,
            theirs=lambda: run([sys.executable, "-c", "pass"], folder),
            notes=lambda pairs: f"{pairs.more * 1e3:+.1f} ms",
        )


def many(folder: Path, count: int, largest: int) -> Iterator[Comparison]:
    """Compare projects of `count` models."""
    project, plain = Project(folder, count), PlainDoit(folder / "plain", STEPS * count)
    models = f"{count:,} model{'' if count == 1 else 's'}"
    tasks = f"doit, {STEPS * count:,} empty tasks"
    target = count == MANY
    yield Comparison(
        what=f"first run, {models}",
        against=tasks,
        reach="≤ 2" if target else "",
        prepare=(project.make, plain.make),
        ours=project.first,
        theirs=plain.first,
        notes=lambda pairs: f"{pairs.ours / count * 1e3:.2f} ms a model; {_memory(pairs)}",
    )
    yield Comparison(
        what=f"no-op, {models}",
        against=f"{tasks}, no-op",
        prepare=(project.ready, plain.ready),
        ours=project.again,
        theirs=plain.run,
        notes=_memory,
    )
    if count < min(MANY, largest):
        return
    ninja = Ninja(folder / "ninja", project)
    program = Project(folder, count, command=BY_PROGRAM)
    for name, ours, reach in (
        ("doit provision", project, "≤ 1.25, ≤ 100 MB"),
        ("model-provisioner provision", program, "≤ 0.8"),
    ):
        yield Comparison(
            what=f"no-op, {models}, `{name}`",
            against=f"ninja, {STEPS * count:,} edges, no-op",
            reach=reach if target else "",
            prepare=(ours.ready, ninja.ready),
            ours=ours.again,
            theirs=ninja.run,
            notes=_memory,
            needs=(NINJA,),
        )
    yield Comparison(
        what=f"one changed of {models}",
        against="its no-op",
        reach="≤ 0.2 s more" if target else "",
        prepare=(project.ready,),
        ours=project.changed,
        theirs=project.again,
        notes=lambda pairs: f"{pairs.more:+.3f} s; {_memory(pairs)}",
    )


def folder_of_files(folder: Path, count: int) -> Iterator[Comparison]:
    """Compare one model that is a folder of `count` small files with the program that hashes as many."""
    project = Project(folder, 1, files=count)
    paths = [str(path) for path in project.files(0)]
    for what, prepare, ours in (
        ("first run", project.make, project.first),
        ("all touched", project.ready, project.touched),
    ):
        yield Comparison(
            what=f"a folder of {count:,} files of 4 KB, {what}",
            against="`sha256sum` of them",
            prepare=(prepare,),
            ours=ours,
            theirs=lambda: run([SHA256SUM.command, *paths], folder),
            notes=lambda pairs: f"{pairs.ours / count * 1e3:.2f} ms a file; {_memory(pairs)}",
            needs=(SHA256SUM,),
        )


def tracked(folder: Path, largest: int) -> Iterator[Comparison]:
    """Compare with dvc."""
    count = min(DVC_AT_MOST, largest)
    project = Project(folder, count)
    dvc = Dvc(folder / "dvc", project)
    yield Comparison(
        what=f"no-op, {count:,} model{'' if count == 1 else 's'}",
        against="`dvc status` of as many files",
        prepare=(project.ready, dvc.ready),
        ours=project.again,
        theirs=dvc.status,
        needs=(DVC,),
    )


def _memory(pairs: Pairs) -> str:
    return f"{pairs.memory / 1e6:.0f} MB"
