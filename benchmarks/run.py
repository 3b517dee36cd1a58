"""Run every benchmark and print a table; each row is a ratio to a peer or limit measured in turn in the same run.

python benchmarks/run.py [--models 1 100 10000] [--large 2048] [--pairs 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from large import Large
from projects import PlainDoit, Project

if TYPE_CHECKING:
    from collections.abc import Callable


def pairs(count: int, ours: Callable[[], float], peer: Callable[[], float]) -> tuple[float, float, float]:
    """Measure in turn; return the median of our seconds, of the peer's, and of the ratios of the pairs."""
    found = [(ours(), peer()) for _ in range(count)]
    return (
        median(ours for ours, _ in found),
        median(peer for _, peer in found),
        median(ours / peer for ours, peer in found),
    )


def row(what: str, against: str, measured: tuple[float, float, float], more: str = "") -> None:
    """Print one line of the table."""
    ours, peer, ratio = measured
    print(f"| {what} | {ours:.3f} s | {against} | {peer:.3f} s | {ratio:.2f} | {more} |", flush=True)


def many_models(count: int, repeats: int, folder: Path) -> None:
    """Measure the first run and the no-op of `count` models against plain doit with three empty tasks a model."""
    project, plain = Project(folder, count), PlainDoit(folder, count)
    memory = 0

    def first() -> float:
        project.forget()
        return project.provision()[0]

    def plain_first() -> float:
        plain.forget()
        return plain.run()

    def again() -> float:
        nonlocal memory
        seconds, memory = project.provision()
        return seconds

    models = f"{count:,} model{'' if count == 1 else 's'}"
    row(f"first run, {models}", f"doit, {3 * count:,} empty tasks", pairs(repeats, first, plain_first))
    measured = pairs(repeats, again, plain.run)
    row(f"no-op, {models}", f"doit, {3 * count:,} empty tasks, no-op", measured, f"{memory / 1e6:.0f} MB")


def large_file(size: int, repeats: int, folder: Path) -> None:
    """Measure the reading of one large file against its limits."""
    large = Large(folder, size)
    words = f"{size / 1e9:.1f} GB"
    row(f"SHA-256 and fingerprint of {words}", "SHA-256 alone, no reading", pairs(repeats, large.both, large.sha256))
    row(f"fingerprint of {words}", "a one-thread read loop", pairs(repeats, large.fingerprint, large.read))


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="*", default=[1, 100, 10_000], help="how many models")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--large", type=int, default=2048, help="MiB of the large file; 0 for none")
    options = parser.parse_args()
    print("| what | ours | against | theirs | ratio | |\n|---|---|---|---|---|---|")
    for count in options.models:
        with tempfile.TemporaryDirectory() as folder:
            many_models(count, options.pairs, Path(folder))
    if options.large:
        with tempfile.TemporaryDirectory() as folder:
            large_file(options.large << 20, options.pairs, Path(folder))


if __name__ == "__main__":
    main()
