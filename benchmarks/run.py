"""Run every benchmark and print a table; each row is a ratio to a peer or limit measured in turn in the same run.

python benchmarks/run.py [--models 1 100 1000 10000] [--large 2048] [--files 8] [--each 256] [--threads CORES] [--cold 8192]
    [--workers 3] [--shared 16] [--share 200] [--fetch 1024] [--repository 200] [--folder 3000 12000] [--tokens 152000]
    [--database URL] [--hosts 50] [--published 200] [--pairs 5] [--only WORDS...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import workers
from fetching import fetching
from header import header
from large import cold, on_all_cores, one, several
from machine import cores, describe
from many import folder_of_files, many, startup, tracked
from pulling import pulling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Comparison

COLD_FILES = 8
HEAD = "| what | ours | against | theirs | ratio | reach | notes |\n|---|---|---|---|---|---|---|"


def comparisons(options: argparse.Namespace, folder: Path) -> Iterator[Comparison]:
    """Yield all rows; nothing is made for one that is not asked for."""
    largest = max(options.models, default=0)
    yield from startup(folder)
    for count in options.models:
        yield from many(folder / f"many-{count}", count, largest)
    if largest:
        yield from tracked(folder / "tracked", largest)
    for count in options.folder:
        yield from folder_of_files(folder / f"folder-{count}", count)
    if options.large:
        yield from one(folder / "large", options.large << 20)
    if options.files and options.each:
        yield from several(folder / "several", options.files, options.each << 20)
        yield from on_all_cores(folder / "several", options.files, options.each << 20, options.threads)
    if options.cold:
        yield from cold(folder / "cold", COLD_FILES, (options.cold << 20) // COLD_FILES)
    if options.workers and options.shared:
        yield from workers(folder / "workers", options.workers, options.shared, options.share * 1_000_000)
    if options.fetch:
        yield from fetching(folder / "fetching", options.fetch << 20, options.repository)
        yield from pulling(folder / "pulling", options.fetch << 20)
    if options.tokens:
        yield from header(folder / "header", options.tokens)
    if options.database:
        from publishing import publishing  # needs the extra `fleet`

        yield from publishing(options.database, options.hosts, options.published)


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="*", default=[1, 100, 1000, 10_000], help="how many models")
    parser.add_argument("--large", type=int, default=2048, help="MiB of the one large file; 0 for none")
    parser.add_argument("--files", type=int, default=8, help="how many files of --each; 0 for none")
    parser.add_argument("--each", type=int, default=256, help="MiB of each of --files")
    parser.add_argument("--threads", type=int, default=cores(), help="plain threads to compare --files with")
    parser.add_argument("--cold", type=int, default=8192, help="MiB to read from the disk, in 8 files; 0 for none")
    parser.add_argument("--workers", type=int, default=3, help="dask workers that read --shared files; 0 for none")
    parser.add_argument("--shared", type=int, default=16, help="how many files of --share; 0 for none")
    parser.add_argument("--share", type=int, default=200, help="MB of each of --shared")
    parser.add_argument("--fetch", type=int, default=1024, help="MiB of the file to fetch; 0 for none")
    parser.add_argument("--repository", type=int, default=200, help="files of the repository to have; 0 for none")
    parser.add_argument(
        "--folder", type=int, nargs="*", default=[3000, 12_000], help="files of a folder that is one model"
    )
    parser.add_argument("--tokens", type=int, default=152_000, help="vocabulary of the GGUF file; 0 for none")
    parser.add_argument(
        "--database", default="", help="URL of an empty PostgreSQL database of one's own, to publish to"
    )
    parser.add_argument("--hosts", type=int, default=50, help="how many publish at once")
    parser.add_argument("--published", type=int, default=200, help="models of each of --hosts")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--only", nargs="*", default=[""], metavar="WORDS", help="only rows that hold one of these")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{describe(folder)}; warm, medians of {options.pairs} pairs\n\n{HEAD}", flush=True)
        missing = []
        for comparison in comparisons(options, folder):
            row = f"{comparison.what} {comparison.against}".lower()
            if not any(words.lower() in row for words in options.only):
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
