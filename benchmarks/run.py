"""Run every benchmark and print a table; each row is a ratio to a peer or limit measured in turn in the same run.

python benchmarks/run.py [--models 1 100 1000 10000] [--large 2048] [--files 8] [--each 256] [--fetch 1024]
    [--repository 200] [--folder 3000] [--tokens 152000] [--pairs 5] [--only WORD]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fetching import fetching
from header import header
from large import one, several
from machine import describe
from many import folder_of_files, many, startup, tracked
from pulling import pulling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Comparison

HEAD = "| what | ours | against | theirs | ratio | reach | notes |\n|---|---|---|---|---|---|---|"


def comparisons(options: argparse.Namespace, folder: Path) -> Iterator[Comparison]:
    """Yield all rows; nothing is made for one that is not asked for."""
    largest = max(options.models, default=0)
    yield from startup(folder)
    for count in options.models:
        yield from many(folder / f"many-{count}", count, largest)
    if largest:
        yield from tracked(folder / "tracked", largest)
    if options.folder:
        yield from folder_of_files(folder / "folder", options.folder)
    if options.large:
        yield from one(folder / "large", options.large << 20)
    if options.files and options.each:
        yield from several(folder / "several", options.files, options.each << 20)
    if options.fetch:
        yield from fetching(folder / "fetching", options.fetch << 20, options.repository)
        yield from pulling(folder / "pulling", options.fetch << 20)
    if options.tokens:
        yield from header(folder / "header", options.tokens)


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="*", default=[1, 100, 1000, 10_000], help="how many models")
    parser.add_argument("--large", type=int, default=2048, help="MiB of the one large file; 0 for none")
    parser.add_argument("--files", type=int, default=8, help="how many files of --each; 0 for none")
    parser.add_argument("--each", type=int, default=256, help="MiB of each of --files")
    parser.add_argument("--fetch", type=int, default=1024, help="MiB of the file to fetch; 0 for none")
    parser.add_argument("--repository", type=int, default=200, help="files of the repository to have; 0 for none")
    parser.add_argument("--folder", type=int, default=3000, help="files of the folder that is one model; 0 for none")
    parser.add_argument("--tokens", type=int, default=152_000, help="vocabulary of the GGUF file; 0 for none")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--only", default="", help="only rows that hold this word")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{describe(folder)}; warm, medians of {options.pairs} pairs\n\n{HEAD}", flush=True)
        missing = []
        for comparison in comparisons(options, folder):
            if options.only.lower() not in f"{comparison.what} {comparison.against}".lower():
                continue
            if needed := [peer for peer in comparison.needs if not peer.find()]:
                missing.append((comparison, needed[0]))
            else:
                print(comparison.row(options.pairs), flush=True)
        if missing:
            print()
        for comparison, peer in missing:
            print(f"Skipped: {comparison.what}, against {comparison.against}: needs {peer}.")


if __name__ == "__main__":
    main()
