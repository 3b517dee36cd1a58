#!/usr/bin/env python3
"""Make what lies beside this script: all that version 0.1 left on the disk of a small project. See README.md.

OLD/.venv/bin/python tests/data/version-0.1/make.py     # a Python in which that version is installed
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from tests.support.gguf_bytes import I32, LLAMA, U16, Tensor, gguf, scalar, text  # noqa: E402
from tests.support.hub import Hub, slow  # noqa: E402

PLACE = "/tmp/model-provisioner-0.1"
"""Where it was made, and so what the files name."""
KEPT = ("project", "state", "store", "hub", "answers")

WRONG = "0" * 64
TINY = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
SOUND = {
    "tiny": {"model_ref": "file:models/tiny.gguf", "expected_digest": f"sha256:{TINY}"},
    "split": {"model_ref": "file:models/split-00001-of-00003.gguf"},
    "folder": {"model_ref": "file:models/folder", "engine": "vllm"},
    "styled": {"model_ref": "file:models/styled.gguf", "lora": ["file:models/style.gguf"]},
    "fetched": {"model_ref": "hf:org/fetched/fetched.gguf"},
    "repository": {"model_ref": "hf:org/repository", "engine": "vllm"},
    "retired": {"model_ref": "file:models/retired.gguf"},
    "removed": {"model_ref": "file:models/removed.gguf"},
}
FIRST = SOUND | {
    "failed": {"model_ref": "file:models/failed.gguf", "expected_digest": f"sha256:{WRONG}"},
    "missing": {"model_ref": "file:models/missing.gguf"},
}
PARTIAL = f"*{'[0-9a-f]' * 64}.{'[0-9a-f]' * 16}"
"""How a download that is under way is named."""
HALF = {"half": {"model_ref": "hf:org/half/half.gguf"}}
LAST = {name: entry for name, entry in (FIRST | HALF).items() if name != "removed"}


REGISTERED = "hf:org/registered/registered.gguf"
REGISTER = f"""
import model_provisioner
model_provisioner.ModelProvisioner().register_model({REGISTERED!r}, "models/retired.gguf", None)
"""
QUESTIONS = {
    "list.json": ("model-list", "--json"),
    "show-fetched.json": ("model-show", "fetched", "--json"),
    "show-retired.json": ("model-show", "retired", "--json"),
    "show-failed.json": ("model-show", "failed", "--json"),
    "why.json": ("model-why", "--json"),
    "check.json": ("model-check", "--json"),
    "prune.json": ("model-prune", "--dry-run", "--older-than", "30d", "--json"),
    "attest-styled.json": ("model-attest", "styled"),
}
"""What is asked in the end, and where the answers lie."""


class Driver(Protocol):
    """Runs doit in the folder `project` below `top`, with the folder `state` there as its state folder."""

    def doit(self, *arguments: str, code: int = 0) -> object: ...
    def start(self, *arguments: str) -> subprocess.Popen[bytes]: ...
    def answer(self, *arguments: str) -> bytes: ...
    def python(self, program: str) -> object: ...


def make(top: Path, hub: Hub, run: Driver, settle: Callable[[], None]) -> None:
    """Make the project at `top/project`, and run every kind of thing there; the last run is killed as it fetches."""
    project = top / "project"
    write_models(project / "models")
    for repository, files in repositories().items():
        hub.add(repository, files)
        for name, content in files.items():
            write(top / "hub" / repository / name, content)
    write_configuration(project, SOUND)
    settle()
    run.doit("provision")
    run.doit("model-lock")
    write_configuration(project, FIRST)
    run.doit("provision", code=1)
    run.doit("model-retire", "retired")
    run.doit("provision", code=1)
    run.python(REGISTER)
    write_configuration(project, FIRST | HALF)
    hub.fault(slow(500), on="*/resolve/*/half.gguf", method="GET")
    with run.start("provision") as process:
        while not any(each.stat().st_size > 200 for each in (top / "store/partial").glob(PARTIAL)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
    hub.heal()
    write_configuration(project, LAST)
    for name, arguments in QUESTIONS.items():
        write(top / "answers" / name, run.answer(*arguments).replace(os.fsencode(top), PLACE.encode()))


def write_models(folder: Path) -> None:
    """Write the local models: the shipped one, and some of a few bytes, each with others."""
    write(folder / "tiny.gguf", (REPOSITORY / "models/tiny-llama.gguf").read_bytes())
    for number in range(3):
        header = LLAMA if number == 0 else {}
        header = header | {
            "split.no": scalar(U16, number),
            "split.count": scalar(U16, 3),
            "split.tensors.count": scalar(I32, 3),
        }
        write(folder / f"split-{number + 1:05}-of-00003.gguf", gguf(header, [Tensor(name=f"t{number}")]))
    write(folder / "folder/model.safetensors", safetensors("a"))
    write(folder / "folder/config.json", b'{"model_type": "llama"}\n')
    write(folder / "styled.gguf", named("styled"))
    adapter = {"general.architecture": text("llama"), "general.type": text("adapter"), "adapter.type": text("lora")}
    write(folder / "style.gguf", gguf(adapter, [Tensor(name="a.lora_a"), Tensor(name="a.lora_b", offset=128)]))
    for name in ("failed", "retired", "removed"):
        write(folder / f"{name}.gguf", named(name))


def repositories() -> dict[str, dict[str, bytes]]:
    """Return what the Hub has."""
    return {
        "org/fetched": {"fetched.gguf": named("fetched"), "README.md": b"# fetched\n"},
        "org/repository": {"model.safetensors": safetensors("b"), "config.json": b'{"model_type": "llama"}\n'},
        "org/half": {"half.gguf": named("half", size=4096)},
    }


def named(name: str, size: int = 128) -> bytes:
    return gguf({**LLAMA, "general.name": text(name)}, [Tensor(shape=(size // 4,), size=size)])


def safetensors(name: str) -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def write_configuration(project: Path, models: dict[str, dict[str, object]]) -> None:
    configuration = {
        "cache_dir": "../store",
        "network": {"allow": ["127.0.0.1", "localhost"]},
        "defaults": {"handoff": "{runtime_dir}/engines/{name}.json"},
        "models": models,
    }
    write(project / "models.yaml", json.dumps(configuration, indent=1).encode() + b"\n")


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Processes:
    """doit of the Python that runs this script."""

    def __init__(self, top: Path, hub: Hub) -> None:
        self._folder = top / "project"
        home = str(top / "home")
        ours = {"HOME": home, "MODEL_PROVISIONER_STATE_DIR": str(top / "state"), "PYTHONPATH": ""}
        self._environ = {**os.environ, **hub.environ(top / "hf"), **ours}

    def start(self, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        return self._python("-m", "doit", *arguments, stdout=stdout)

    def python(self, program: str) -> None:
        with self._python("-c", program) as process:
            assert process.wait() == 0

    def _python(self, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=self._folder, env=self._environ, stdin=subprocess.DEVNULL, stdout=stdout)

    def answer(self, *arguments: str) -> bytes:
        with self.start(*arguments, stdout=subprocess.PIPE) as process:
            return process.communicate()[0]

    def doit(self, *arguments: str, code: int = 0) -> None:
        with self.start(*arguments) as process:
            assert process.wait() == code, (arguments, process.returncode)


def keep(top: Path, target: Path) -> None:
    """Copy what is at `top`, but for the shipped model; links are told in a file: not every archive holds them."""
    for database in (top / "state").rglob("*.db"):
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (top / "project/models/tiny.gguf").unlink()
    links = {}
    for each in KEPT:
        for path in sorted((top / each).rglob("*")):
            name = str(path.relative_to(top))
            if path.is_symlink():
                links[name] = os.readlink(path)
            elif path.is_file() and path.suffix not in {".db-wal", ".db-shm"}:
                write(target / name, path.read_bytes())
    write(target / "links.json", json.dumps(links, indent=1).encode() + b"\n")


def main() -> None:
    top = Path(PLACE)
    shutil.rmtree(top, ignore_errors=True)
    (top / "home").mkdir(parents=True)
    for each in KEPT:
        shutil.rmtree(HERE / each, ignore_errors=True)
    with Hub() as hub:
        make(top, hub, Processes(top, hub), lambda: time.sleep(2.2))
    keep(top, HERE)


if __name__ == "__main__":
    main()
