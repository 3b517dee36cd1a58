"""Large files, in the page cache or not, by the command line less its start-up, and by what limits it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from limits import inside
from measure import Comparison, Pairs
from peers import DD, OPENSSL, RHASH, SHA256SUM, TASKSET, Peer
from process import Sample, run
from projects import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Large:
    """A project of large models, and one of as many small ones, which tells what the start-up takes."""

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self._large, self._small = Project(folder / "large", count, size), Project(folder / "small", count)
        self.paths = [str(self._large.path(number)) for number in range(count)]
        self.root = self._large.root

    def make(self) -> None:
        """Write the models, and have them in the page cache."""
        self._large.make()
        self._small.make()
        for path in self.paths:
            inside("read", path)

    def ready(self) -> None:
        """Let the next run find nothing to do."""
        self.make()
        self._large.ready()
        self._small.ready()

    def first(self, *prefix: str) -> Sample:
        """Provision for the first time."""
        start_up = self._small.first(*prefix)
        return self._large.first(*prefix) - start_up

    def touched(self) -> Sample:
        """Provision where each model has a new time and the old bytes."""
        start_up = self._small.touched()
        return self._large.touched() - start_up

    def again(self) -> Sample:
        """Provision where nothing is to be done."""
        start_up = self._small.again()
        return self._large.again() - start_up


def one(folder: Path, size: int) -> Iterator[Comparison]:
    """Compare one file of `size` bytes with its limits."""
    large = Large(folder, 1, size)
    (path,) = large.paths
    file = f"one file of {words(size)}"
    yield Comparison(
        what=f"first verification of {file}",
        against="SHA-256 alone, over one hot 1 MiB buffer",
        reach="≤ 1.03",
        prepare=(large.make,),
        ours=large.first,
        theirs=lambda: inside("sha256", size),
        notes=_grown,
    )
    yield Comparison(
        what=f"{file}, touched",
        against="a read loop of one thread",
        reach="< 1",
        prepare=(large.ready,),
        ours=large.touched,
        theirs=lambda: inside("read", path),
        notes=lambda pairs: f"{_grown(pairs)}; {_read_again(large)}",
    )
    yield Comparison(
        what=f"`hash_both` of {file}",
        against="SHA-256 alone, over one hot 1 MiB buffer",
        prepare=(large.make,),
        ours=lambda: inside("both", path),
        theirs=lambda: inside("sha256", size),
    )
    yield Comparison(
        what=f"`fingerprint` of {file}",
        against="a read loop of one thread",
        prepare=(large.make,),
        ours=lambda: inside("fingerprint", path),
        theirs=lambda: inside("read", path),
    )
    if hasattr(os, "sched_setaffinity"):
        yield Comparison(
            what=f"`fingerprint` of {file}, on one core",
            against="one xxh3-128 without a key, reading included",
            reach="≤ 1.3",
            prepare=(large.make,),
            ours=lambda: inside("fingerprint_on_one_core", path),
            theirs=lambda: inside("xxh3", path),
        )


def several(folder: Path, count: int, size: int) -> Iterator[Comparison]:
    """Compare `count` files of `size` bytes, on all cores, with one core and with other programs."""
    large = Large(folder, count, size)
    sums = folder / "SHA256SUMS"
    core = str(min(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "0"

    def list_sums() -> None:
        digests = (large.root / ".runtime" / "digests").iterdir()
        sums.write_text("".join(path.read_text() for path in digests))

    def compare(peer: Peer, against: str, reach: str, theirs: Callable[[], Sample]) -> Comparison:
        return Comparison(
            what=f"first verification of {count} files of {words(size)}",
            against=against,
            reach=reach,
            prepare=(large.ready, list_sums),
            ours=large.first,
            theirs=theirs,
            notes=_grown,
            needs=(peer,),
        )

    def peer(one: Peer, *arguments: str) -> Sample:
        return run([one.command, *arguments], folder)

    yield compare(TASKSET, "ours on one core", "≤ 0.53", lambda: large.first(TASKSET.command, "-c", core))
    yield compare(RHASH, "`rhash --sha256`", "≤ 0.53", lambda: peer(RHASH, "--sha256", *large.paths))
    yield compare(OPENSSL, "`openssl dgst -sha256`", "", lambda: peer(OPENSSL, "dgst", "-sha256", *large.paths))
    yield compare(SHA256SUM, "`sha256sum -c`", "< 0.125", lambda: peer(SHA256SUM, "-c", str(sums)))


def on_all_cores(folder: Path, count: int, size: int, threads: int) -> Iterator[Comparison]:
    """Compare `count` files of `size` bytes with as many plain threads as there are cores, and other numbers of threads."""
    large = Large(folder, count, size)
    files = f"{count} files of {words(size)}"
    of_them = os.path.dirname(large.paths[0])
    yield Comparison(
        what=f"first verification of {files}",
        against=f"{threads} plain threads that take SHA-256 and xxh3-128",
        reach="≤ 1.11",
        prepare=(large.make,),
        ours=large.first,
        theirs=lambda: inside("plain_threads", f"{threads}:{of_them}"),
        notes=_grown,
    )
    for other in (max(1, threads // 2), threads * 2):
        yield Comparison(
            what=f"`hash_both` of {files}, {threads} threads",
            against=f"{other} thread{'' if other == 1 else 's'}",
            reach="≤ 1.05",
            prepare=(large.make,),
            ours=lambda: inside("both_in_threads", f"{threads}:{of_them}"),
            theirs=lambda other=other: inside("both_in_threads", f"{other}:{of_them}"),
        )


def cold(folder: Path, count: int, size: int) -> Iterator[Comparison]:
    """Compare `count` files of `size` bytes that are on the disk alone with a program that reads them and does nothing."""
    large = Large(folder, count, size)

    def ours() -> Sample:
        forget(large.paths)
        return large.first()

    def theirs() -> Sample:
        forget(large.paths)
        began = [run([DD.command, f"if={path}", "of=/dev/null", "bs=1M"], folder) for path in large.paths]
        return Sample(seconds=sum(each.seconds for each in began))

    yield Comparison(
        what=f"first verification of {count} files of {words(size)}, from the disk",
        against="`dd bs=1M` of one after the other",
        reach="≤ 1.05",
        prepare=(large.make,),
        ours=ours,
        theirs=theirs,
        notes=lambda pairs: f"{count * size / pairs.ours / 1e6:,.0f} MB/s; {_grown(pairs)}",
        needs=(DD,),
    )


def forget(paths: list[str]) -> None:
    """Have files on the disk alone."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)  # what is not written yet stays in the page cache
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def words(size: int) -> str:
    """Return a size as the table has it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _grown(pairs: Pairs) -> str:
    return f"{pairs.memory / 1e6:+.0f} MB; start-up {pairs.start_up:.2f} s"


def _read_again(large: Large) -> str:
    read = large.again().read
    return "" if read is None else f"the run after reads {max(0, read):,} bytes more than with 4 KB"
