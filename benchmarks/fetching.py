"""Models behind a server on this machine: a fetch, and a run that has nothing to fetch."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

from large import words
from limits import inside
from measure import Comparison
from peers import CURL, NGINX
from process import Sample, run
from projects import AT_REST

from model_provisioner.config.entries import Locked, LockedFile
from model_provisioner.config.lockfile import render_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from peers import Peer

REPO = "test/model"
COMMIT = "c" * 40
SMALL = 4096
PIECE = 16 << 20
NGINX_CONF = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log {folder}/requests;
  sendfile on;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/served; }}
}}
"""


class Served:
    """A repository of files of these sizes, behind an nginx, and a project that has all of it as one model, locked.

    A lock names commit and digests, so that nobody has to be asked but for the bytes: what is measured is the fetch.
    """

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self._folder, self._sizes = folder, sizes
        self._root, self._state, self._cache = folder / "project", folder / "state", folder / "cache"
        self._local = folder / "local"
        self.files = folder / "served" / REPO / "resolve" / COMMIT
        self._log = folder / "requests"
        self._nginx: subprocess.Popen[bytes] | None = None
        self._url = ""

    def make(self) -> None:
        """Write the files, and serve them until this process ends."""
        if self._nginx is not None:
            return
        for folder in (self.files, self._root, self._local):
            folder.mkdir(parents=True)
        locked = []
        for number, size in enumerate(self._sizes):
            path, digest = self.files / f"{number:03}.bin", hashlib.sha256()
            with path.open("wb") as file:
                for begin in range(0, size, PIECE):
                    piece = os.urandom(min(PIECE, size - begin))
                    digest.update(piece)
                    file.write(piece)
            locked.append(LockedFile(name=path.name, size=size, sha256=digest.hexdigest()))
        model = Locked(ref=f"hf:{REPO}", kind="folder", revision=COMMIT, files=tuple(locked))
        (self._root / "models.lock").write_bytes(render_lock({"m": model}))
        head = f"cache_dir: {self._cache}\nnetwork: {{allow: ['127.0.0.1']}}\nmodels:\n"
        (self._root / "models.yaml").write_text(f"{head}  m: {{model_ref: 'hf:{REPO}', engine: vllm}}\n")
        (self._local / "models.yaml").write_text(f"models:\n  m: {{model_ref: '{self.files}'}}\n")
        self._serve()

    def _serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = self._folder / "nginx.conf"
        settings.write_text(NGINX_CONF.format(folder=self._folder, port=port))
        self._nginx = subprocess.Popen([NGINX.command, "-c", settings, "-e", self._folder / "errors"])
        atexit.register(self._nginx.kill)
        self._url = f"http://127.0.0.1:{port}"
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.05)
        raise SystemExit(f"nginx does not answer: {(self._folder / 'errors').read_text()}")

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
        url = f"{self._url}/{REPO}/resolve/{COMMIT}/000.bin"
        target = self._folder / "curl.bin"
        sample = run([CURL.command, "-s", "-L", "-f", "-o", str(target), url], self._folder)
        target.unlink()
        return sample

    def asked(self) -> int:
        """Return how many requests there were so far."""
        return len(self._log.read_text().splitlines())

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


class Fetched(Protocol):
    """A file behind a server, and a project that has it as its model."""

    def make(self) -> None:
        """Make both, once."""

    def first(self) -> Sample:
        """Fetch and provision."""

    def curl(self) -> Sample:
        """Fetch the file to the disk by curl."""


def against_the_slower(what: str, large: Fetched, small: Fetched, size: int, server: Peer) -> Comparison:
    """Compare a fetch of `size` bytes, less that of a small file, with what is slower of curl and SHA-256."""

    def make() -> None:
        large.make()
        small.make()

    def first() -> Sample:
        start_up = small.first()
        return large.first() - start_up

    def limit() -> Sample:
        return max(large.curl(), inside("sha256", size), key=lambda sample: sample.seconds)

    return Comparison(
        what=what.format(words(size)),
        against="`curl -o FILE`, or SHA-256 alone: what is slower",
        reach="≤ 1.15",
        prepare=(make,),
        ours=first,
        theirs=limit,
        needs=(CURL, server),
    )


def fetching(folder: Path, size: int, count: int) -> Iterator[Comparison]:
    """Compare a fetch of one file of `size` bytes, and a run on a repository of `count` small files."""
    large, small, many = (
        Served(folder / name, sizes)
        for name, sizes in (("large", [size]), ("small", [SMALL]), ("many", [SMALL] * count))
    )

    yield against_the_slower("fetch of {}, verified", large, small, size, NGINX)
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
        needs=(NGINX,),
        notes=lambda pairs: f"{pairs.more * 1e3:+.1f} ms; {many.asked() - before[-1]} requests",
    )
