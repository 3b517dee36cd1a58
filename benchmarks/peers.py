"""Other programs: where they are found, how to get them, and the same work in their words."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from process import Sample, run

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


@dataclass(frozen=True)
class Peer:
    """A program, or a module of Python, that is not ours."""

    name: str
    get: str
    """How to get it."""

    def __str__(self) -> str:
        """Return its name, and how to get it."""
        return f"{self.name} ({self.get})"

    def find(self) -> str | None:
        """Return its path, or None where it is missing; what is installed beside this Python counts."""
        return shutil.which(self.name, path=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}")

    @property
    def command(self) -> str:
        """Its path, or its name."""
        return self.find() or self.name


class Module(Peer):
    """A module that this Python can import."""

    def find(self) -> str | None:
        """Return its path, or None where it is missing."""
        found = find_spec(self.name)
        return None if found is None else found.origin


CURL = Peer("curl", "Debian's curl")
NGINX = Peer("nginx", "Debian's nginx-light")
REGISTRY = Peer("docker-registry", "Debian's docker-registry")
NINJA = Peer("ninja", "pip install ninja, or Debian's ninja-build")
DVC = Peer("dvc", "pip install dvc")
RHASH = Peer("rhash", "Debian's rhash")
OPENSSL = Peer("openssl", "Debian's openssl")
SHA256SUM = Peer("sha256sum", "GNU coreutils")
TASKSET = Peer("taskset", "Debian's util-linux")
GGUF = Module("gguf", "pip install gguf")


class PlainDoit:
    """doit alone, under its default settings, on `count` tasks that do nothing."""

    def __init__(self, folder: Path, count: int) -> None:
        self._root, self._count = folder, count

    def make(self) -> None:
        """Write the `dodo.py`, once."""
        if self._root.exists():
            return
        self._root.mkdir(parents=True)
        (self._root / "dodo.py").write_text(
            "from doit.tools import run_once\n"
            "def nothing():\n    pass\n"
            "def task_all():\n"
            f"    for number in range({self._count}):\n"
            "        yield {'name': str(number), 'actions': [nothing], 'uptodate': [run_once]}\n"
        )

    def run(self) -> Sample:
        """Run them all, or find all done."""
        return run([sys.executable, "-m", "doit"], self._root)

    def first(self) -> Sample:
        """Run them all, as if for the first time."""
        for path in self._root.glob(".doit*"):
            path.unlink()
        return self.run()

    def ready(self) -> None:
        """Let the next run find all done."""
        self.make()
        self.run()


class Ninja:
    """ninja on a graph of three edges a model: verify, register, hand off."""

    def __init__(self, folder: Path, models: Project) -> None:
        self._root, self._models = folder, models

    def ready(self) -> None:
        """Write the graph and its outputs, and let ninja run it, so that the next run finds nothing to do."""
        if self._root.exists():
            return
        self._models.make()
        lines = ["rule step", "  command = :", ""]
        made = ("digest", "row", "handoff")
        for kind in made:
            (self._root / kind).mkdir(parents=True)
        for number in range(self._models.count):
            outputs = [f"{kind}/m{number}" for kind in made]
            model = os.path.relpath(self._models.path(number), self._root)
            for output, source in zip(outputs, [model, *outputs], strict=False):
                lines.append(f"build {output}: step {source}")
                (self._root / output).touch()
        (self._root / "build.ninja").write_text("\n".join(lines) + "\n")
        self.run()
        if "no work to do" not in (said := run([NINJA.command], self._root, keep=True).said):
            raise SystemExit(f"ninja was to find nothing to do, and said:\n{said}")

    def run(self) -> Sample:
        """Run ninja."""
        return run([NINJA.command], self._root)


class Dvc:
    """dvc with each of the models under its control by `dvc add`, in a project of its own."""

    def __init__(self, folder: Path, models: Project) -> None:
        self._root, self._models = folder, models
        self._environ = {
            "DVC_NO_ANALYTICS": "1",
            **{f"DVC_{kind}_DIR": str(folder / ".dvc" / kind) for kind in ("GLOBAL_CONFIG", "SITE_CACHE")},
        }

    def ready(self) -> None:
        """Let dvc take the models under its control, so that there is nothing to do."""
        if self._root.exists():
            return
        self._models.make()
        self._root.mkdir(parents=True)
        names = [f"{number}.bin" for number in range(self._models.count)]
        for number, name in enumerate(names):
            shutil.copy(self._models.path(number), self._root / name)
        for arguments in (["init", "--no-scm"], ["config", "core.check_update", "false"], ["add", *names]):
            run([DVC.command, *arguments, "--quiet"], self._root, self._environ)
        if "up to date" not in (said := run([DVC.command, "status"], self._root, self._environ, keep=True).said):
            raise SystemExit(f"dvc was to find nothing to do, and said:\n{said}")

    def status(self) -> Sample:
        """Run `dvc status`."""
        return run([DVC.command, "status"], self._root, self._environ)
