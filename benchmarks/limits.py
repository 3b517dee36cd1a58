"""What is measured inside of a process, each in one of its own: `python limits.py WORK ARGUMENT`."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from process import Sample, run

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER = 1 << 20

Work: TypeAlias = "Callable[[], object]"
"""What is measured; what comes before it is not."""


def inside(work: str, argument: object) -> Sample:
    """Measure a piece of work below, in a process of its own; the seconds are of the work alone."""
    here = Path(__file__)
    sample = run([sys.executable, str(here), work, str(argument)], here.parent, keep=True)
    seconds, memory = sample.said.split()
    return replace(sample, seconds=float(seconds), memory=int(memory))


def sha256(size: str) -> Work:
    """Prepare SHA-256 alone, over one buffer that stays in the processor's cache."""
    digest, buffer = hashlib.sha256(), os.urandom(BUFFER)

    def work() -> None:
        for _ in range(int(size) // BUFFER):
            digest.update(buffer)

    return work


def read(path: str) -> Work:
    """Prepare a loop of one thread that reads a file and does nothing with it."""
    view = memoryview(bytearray(BUFFER))
    fd = os.open(path, os.O_RDONLY)

    def work() -> None:
        offset = 0
        while count := os.preadv(fd, [view], offset):
            offset += count

    return work


def xxh3(path: str) -> Work:
    """Prepare a loop of one thread that reads a file and takes one xxh3-128 of it, without a key."""
    import xxhash

    view = memoryview(bytearray(BUFFER))
    fd = os.open(path, os.O_RDONLY)

    def work() -> None:
        offset, plain = 0, xxhash.xxh3_128()
        while count := os.preadv(fd, [view], offset):
            plain.update(view[:count])
            offset += count

    return work


def both(path: str) -> Work:
    """Prepare our SHA-256 and fingerprint in one pass."""
    from model_provisioner.hashing.fingerprint import FingerprintKey
    from model_provisioner.hashing.streaming import hash_both, open_model

    fd, key = open_model(path), FingerprintKey.drawn()
    return lambda: hash_both(fd, key, lambda _: None)


def fingerprint(path: str) -> Work:
    """Prepare our fingerprint alone."""
    from model_provisioner.hashing import streaming
    from model_provisioner.hashing.fingerprint import FingerprintKey

    fd, key = streaming.open_model(path), FingerprintKey.drawn()
    return lambda: streaming.fingerprint(fd, key, lambda _: None)


def fingerprint_on_one_core(path: str) -> Work:
    """Prepare our fingerprint alone, in one thread."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return fingerprint(path)


def both_in_threads(argument: str) -> Work:
    """Prepare our SHA-256 and fingerprint of each file of a folder; the argument has the threads, a colon and the folder."""
    from model_provisioner.hashing.fingerprint import FingerprintKey
    from model_provisioner.hashing.streaming import hash_both, open_model
    from model_provisioner.hashing.threads import in_threads

    threads, _, folder = argument.partition(":")
    files, key = [open_model(str(path)) for path in sorted(Path(folder).iterdir())], FingerprintKey.drawn()

    def work() -> None:
        for _ in in_threads(lambda fd, _: hash_both(fd, key, lambda _: None), files, int(threads)):
            pass

    return work


def plain_threads(argument: str) -> Work:
    """Prepare plain threads that read the files of a folder and take SHA-256 and one xxh3-128 of each, without a key."""
    from concurrent.futures import ThreadPoolExecutor

    import xxhash

    threads, _, folder = argument.partition(":")
    files = [os.open(path, os.O_RDONLY) for path in sorted(Path(folder).iterdir())]

    def take(fd: int) -> None:
        view, offset = memoryview(bytearray(BUFFER)), 0
        sha, plain = hashlib.sha256(), xxhash.xxh3_128()
        while count := os.preadv(fd, [view], offset):
            sha.update(view[:count])
            plain.update(view[:count])
            offset += count

    def work() -> None:
        with ThreadPoolExecutor(int(threads)) as pool:
            for _ in pool.map(take, files):
                pass

    return work


def header(path: str) -> Work:
    """Prepare our reader of headers."""
    from model_provisioner.fs.fileset import discover
    from model_provisioner.headers.reader import read_metadata

    return lambda: read_metadata(discover(path))


def gguf(path: str) -> Work:
    """Prepare the reader of the package `gguf`."""
    from gguf import GGUFReader

    return lambda: GGUFReader(path)


WORKS: dict[str, Callable[[str], Work]] = {
    work.__name__: work
    for work in (
        *(sha256, read, xxh3, both, fingerprint, fingerprint_on_one_core),
        *(both_in_threads, plain_threads),
        *(header, gguf),
    )
}


def main() -> None:
    """Do the work that is named; print its seconds, and the memory of the process at its peak."""
    name, argument = sys.argv[1:]
    work = WORKS[name](argument)
    began = time.perf_counter()
    work()
    print(time.perf_counter() - began, _peak())


def _peak() -> int:
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM:"))
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * 1024


if __name__ == "__main__":
    main()
