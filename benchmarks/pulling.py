"""A model behind a registry on this machine: a pull of one large layer."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from fetching import against_the_slower
from peers import CURL, REGISTRY
from process import Sample, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from measure import Comparison

REPOSITORY = "test/model"
SMALL = 4096
PIECE = 16 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Pulled:
    """An artifact of one layer of so many bytes, in a registry, and a project that has it as its model, locked."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._root, self._state, self._cache = folder / "project", folder / "state", folder / "cache"
        self._place = ""
        self._digest = ""

    def make(self) -> None:
        """Push the artifact, and serve it until this process ends."""
        if self._place:
            return
        self._root.mkdir(parents=True)
        self._serve()
        path, digest = self._folder / "layer", hashlib.sha256()
        with path.open("wb") as file:
            for begin in range(0, self._size, PIECE):
                piece = os.urandom(min(PIECE, self._size - begin))
                digest.update(piece)
                file.write(piece)
        self._digest = f"sha256:{digest.hexdigest()}"
        self._push(path)
        path.unlink()
        ref = f"oci:{self._place}/{REPOSITORY}:v1"
        (self._root / "models.yaml").write_text(
            f"cache_dir: {self._cache}\nnetwork: {{allow: ['127.0.0.1']}}\nmodels:\n  m: {{model_ref: '{ref}', engine: any}}\n"
        )
        self._run("lock", "1 model")

    def _serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._place = f"127.0.0.1:{port}"
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "registry")}},
            "http": {"addr": self._place},
        }
        (self._folder / "registry.yml").write_text(json.dumps(settings))
        process = subprocess.Popen(
            [REGISTRY.command, "serve", self._folder / "registry.yml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(process.kill)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.05)
        raise SystemExit("docker-registry does not answer")

    def _push(self, path: Path) -> None:
        with path.open("rb") as file:
            self._upload(file, self._digest)
        self._upload(b"{}", f"sha256:{hashlib.sha256(b'{}').hexdigest()}")
        layer = {
            "mediaType": "application/octet-stream",
            "digest": self._digest,
            "size": self._size,
            "annotations": {"org.opencontainers.image.title": "model.bin"},
        }
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
            "size": 2,
        }
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        self._ask("PUT", f"/v2/{REPOSITORY}/manifests/v1", json.dumps(manifest).encode(), MANIFEST)

    def _upload(self, body: object, digest: str) -> None:
        where = self._ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/", b"")
        self._ask("PUT", f"{where}&digest={digest}", body)

    def _ask(self, method: str, where: str, body: object, kind: str = "application/octet-stream") -> str:
        connection = http.client.HTTPConnection(self._place)
        size = self._size if hasattr(body, "fileno") else len(body)  # type: ignore[arg-type]
        path = where.removeprefix(f"http://{self._place}")
        connection.request(method, path, body, {"Content-Length": str(size), "Content-Type": kind})  # type: ignore[arg-type]
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"docker-registry answers with {answer.status}")
        return answer.headers.get("Location", "")

    def first(self) -> Sample:
        """Pull and provision."""
        trash = self._folder / "trash" / str(time.monotonic_ns())
        trash.mkdir(parents=True)
        for left in (self._cache, self._state, self._root / ".runtime"):
            if left.exists():
                left.rename(trash / left.name)
        subprocess.run(["rm", "-rf", str(trash)], check=True)
        return self._run("provision", "1 done")

    def curl(self) -> Sample:
        """Fetch the layer to the disk by curl."""
        target = self._folder / "curl.bin"
        url = f"http://{self._place}/v2/{REPOSITORY}/blobs/{self._digest}"
        sample = run([CURL.command, "-s", "-L", "-f", "-o", str(target), url], self._folder)
        target.unlink()
        return sample

    def _run(self, command: str, expected: str) -> Sample:
        environ = {"MODEL_PROVISIONER_STATE_DIR": str(self._state)}
        sample = run([sys.executable, "-m", "model_provisioner", command], self._root, environ, keep=True)
        if expected not in sample.said:
            raise SystemExit(f"{command} was to say {expected!r}, and said:\n{sample.said}")
        return sample


def pulling(folder: Path, size: int) -> Iterator[Comparison]:
    """Compare a pull of one layer of `size` bytes, start-up aside."""
    large, small = Pulled(folder / "large", size), Pulled(folder / "small", SMALL)

    yield against_the_slower("pull of {} from a registry, verified", large, small, size, REGISTRY)
