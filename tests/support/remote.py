"""A project whose models are fetched, with a store and a home of its own, driven through doit's command line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.hub import Hub
from tests.support.project import TINY, Answer, Project

TINY_BYTES = TINY.read_bytes()
TINY_SHA = hashlib.sha256(TINY_BYTES).hexdigest()
WRONG = "0" * 64
FLIPPED = TINY_BYTES[:5000] + bytes([TINY_BYTES[5000] ^ 1]) + TINY_BYTES[5001:]
README = b"# tiny\n"
CONFIG = b'{"model_type": "llama"}\n'
REPO = {"tiny.gguf": TINY_BYTES, "config.json": CONFIG, "README.md": README, "sub/more.json": b"{}"}
ONE = "hf:org/tiny/tiny.gguf"


@dataclass(frozen=True)
class Remote:
    project: Project
    cache: Path
    """Where fetched files land."""
    home: Path

    @property
    def root(self) -> Path:
        return self.project.root

    @property
    def environ(self) -> dict[str, str]:
        return self.project.environ

    @property
    def lock(self) -> Path:
        return self.root / "models.lock"

    def models(
        self,
        entries: Mapping[str, str | Mapping[str, object]],
        *,
        allow: Iterable[str] = ("127.0.0.1", "localhost"),
        **top: object,
    ) -> None:
        """Write a `models.yaml` (in JSON) of these entries, given as reference or as fields."""
        fields = {name: {"model_ref": entry} if isinstance(entry, str) else entry for name, entry in entries.items()}
        self.project.models(
            json.dumps(
                {
                    "cache_dir": str(self.cache),
                    "network": {"allow": list(allow)},
                    "defaults": {"handoff": "{runtime_dir}/engines/{name}.json"},
                    "models": fields,
                    **top,
                },
                indent=1,
            )
        )

    def provision(self, *args: str, code: int | None = 0) -> Answer:
        return self.project.provision(*args, code=code)

    def json(self, *args: str, code: int | None = 0) -> dict:
        return self.project.json(*args, code=code)

    def doit(self, *args: str, code: int | None = 0) -> Answer:
        return self.project.doit(*args, code=code)

    def path(self, name: str) -> Path:
        """Return what the handoff of an entry tells its engine to open."""
        handoff = self.project.handoff(name)
        assert handoff is not None, f"{name} was not handed off"
        return Path(handoff["model"]["path"])

    def bytes_of(self, name: str) -> bytes | dict[str, bytes]:
        """Return what an engine reads of an entry: of a folder each file by its name."""
        path = self.path(name)
        if path.is_dir():
            return {
                str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()
            }
        return path.read_bytes()

    def blobs(self) -> set[str]:
        """Return the SHA-256s of the store, each of which is that of the bytes that are there."""
        found = {path.name: path for path in (self.cache / "blobs").rglob("*") if path.is_file()}
        for name, path in found.items():
            assert sha256(path.read_bytes()) == name, f"the store has other bytes as {name}"
            assert path.stat().st_mode & 0o222 == 0, f"{name} can be written"
        return set(found)

    def on_the_way(self) -> list[str]:
        """Return the names of what is neither whole nor gone."""
        folder = self.cache / "partial"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def empty_cache(self) -> None:
        """Take the store away, as on another machine."""
        for path in sorted(self.cache.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.cache.rmdir()

    def another_machine(self) -> None:
        """Take store, records and outputs away: models.yaml and models.lock stay, as in another checkout."""
        if self.cache.exists():
            self.empty_cache()
        for folder in (self.project.state, self.root / ".runtime"):
            shutil.rmtree(folder, ignore_errors=True)

    def everything(self) -> bytes:
        """Return all that a run left behind, names included: what holds no credential."""
        found = b""
        for top in (self.root / ".runtime", self.lock, self.cache, self.project.state):
            for path in [top, *sorted(top.rglob("*"))]:
                found += os.fsencode(path) + b"\n"
                if path.is_file():
                    found += path.read_bytes()
        return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def reads(pid: int, path) -> bool:
    """Tell whether a process has a file open."""
    links = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return str(path) in {os.readlink(link) for link in links if os.path.lexists(link)}


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def resolved(hub: Hub) -> list[str]:
    """Return the paths in a repository that were asked for, as often as they were."""
    return [request.path.split("/resolve/")[1].partition("/")[2] for request in hub.asked("GET", "*/resolve/*")]
