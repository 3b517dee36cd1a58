"""Models of a Hub on this machine: a fetch, and a run that has nothing to fetch."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from limits import inside
from measure import Comparison, Sample, run
from peers import CURL
from projects import AT_REST

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
REPO = "test/tiny-llama"
SMALL = 4096


class Served:
    """A repository of files of these sizes, on the Hub of the tests, and a project that has all of it as one model."""

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self._folder, self._sizes = folder, sizes
        self.files = folder / "files"
        self._root, self._state, self._cache = folder / "project", folder / "state", folder / "cache"
        self._local = folder / "local"
        self._hub: subprocess.Popen[str] | None = None
        self._url = ""

    def make(self) -> None:
        """Write the files, and serve them until this process ends."""
        if self._hub is not None:
            return
        for folder in (self.files, self._root, self._local):
            folder.mkdir(parents=True)
        paths = [self.files / f"{number:03}.bin" for number in range(len(self._sizes))]
        for path, size in zip(paths, self._sizes, strict=True):
            path.write_bytes(os.urandom(size))
        command = [sys.executable, "-m", "tests.support.hub", *map(str, paths)]
        log = (self._folder / "requests").open("w")
        self._hub = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        atexit.register(self._hub.kill)
        assert self._hub.stdout is not None
        self._url = self._hub.stdout.readline().partition("=")[2].strip()
        head = f"cache_dir: {self._cache}\nnetwork: {{allow: ['127.0.0.1']}}\nmodels:\n"
        (self._root / "models.yaml").write_text(f"{head}  m: {{model_ref: 'hf:{REPO}', include: ['*.bin']}}\n")
        (self._local / "models.yaml").write_text(f"models:\n  m: {{model_ref: '{self.files}'}}\n")

    def ready(self) -> None:
        """Let the next runs, of the repository and of the same files as a local folder, find nothing to do."""
        self.make()
        self.first()
        time.sleep(AT_REST)
        self._provision(self._local, "1 model")
        self._provision(self._local, "1 current")

    def first(self) -> Sample:
        """Fetch and provision."""
        trash = self._folder / "trash" / str(time.monotonic_ns())
        trash.mkdir(parents=True)
        for left in (self._cache, self._state, self._root / ".runtime"):
            if left.exists():
                left.rename(trash / left.name)
        subprocess.run(["rm", "-rf", str(trash)], check=True)
        return self._provision(self._root, "1 done")

    def again(self) -> Sample:
        """Provision where all is here."""
        return self._provision(self._root, "1 current")

    def local(self) -> Sample:
        """Provision the same files as a local folder, where nothing is to be done."""
        return self._provision(self._local, "1 current")

    def curl(self) -> Sample:
        """Fetch the first file to the disk by curl."""
        url = f"{self._url}/{REPO}/resolve/main/000.bin"
        target = self._folder / "curl.bin"
        sample = run([CURL.command, "-s", "-L", "-f", "-o", str(target), url], self._folder)
        target.unlink()
        return sample

    def asked(self) -> int:
        """Return how many requests the Hub had so far."""
        return len((self._folder / "requests").read_text().splitlines())

    def _provision(self, root: Path, expected: str) -> Sample:
        environ = {
            "MODEL_PROVISIONER_STATE_DIR": str(self._state),
            "HF_ENDPOINT": self._url,
            "HF_HOME": str(self._folder / "hf"),
        }
        sample = run([sys.executable, "-m", "doit", "provision"], root, environ, keep=True)
        if expected not in sample.said:
            raise SystemExit(f"doit provision was to say {expected!r}, and said:\n{sample.said}")
        return sample


def fetching(folder: Path, size: int, count: int) -> Iterator[Comparison]:
    """Compare a fetch of one file of `size` bytes, and a run on a repository of `count` small files."""
    large, small, many = (
        Served(folder / name, sizes)
        for name, sizes in (("large", [size]), ("small", [SMALL]), ("many", [SMALL] * count))
    )

    def make() -> None:
        large.make()
        small.make()

    def first() -> Sample:
        start_up = small.first()
        return large.first() - start_up

    def limit() -> Sample:
        return max(large.curl(), inside("sha256", size), key=lambda sample: sample.seconds)

    yield Comparison(
        what=f"fetch of {size / 1e9:.1f} GB, verified",
        against="`curl -o FILE`, or SHA-256 alone: what is slower",
        reach="≤ 1.15",
        prepare=(make,),
        ours=first,
        theirs=limit,
        needs=CURL,
    )
    if not count:
        return
    before: list[int] = []
    yield Comparison(
        what=f"no-op, a fetched repository of {count} files",
        against="the same files as a local folder",
        reach="≤ 30 ms more",
        prepare=(many.ready, lambda: before.append(many.asked())),
        ours=many.again,
        theirs=many.local,
        notes=lambda pairs: f"{pairs.more * 1e3:+.1f} ms; {many.asked() - before[-1]} requests",
    )
