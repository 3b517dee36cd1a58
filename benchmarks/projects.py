"""Projects of many small models, and the peers they are measured against, in temporary folders."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 4096
PER_FOLDER = 1000


class Project:
    """`count` models of 4 KB, all different, of a format we don't know, so that only the work around them counts."""

    def __init__(self, folder: Path, count: int) -> None:
        self.root, self.state, self.count = folder / "project", folder / "state", count
        self.root.mkdir(parents=True)
        lines = ["defaults: {handoff: '{runtime_dir}/engines/{name}.json'}", "models:" if count else "models: {}"]
        old = time.time() - 3600
        for number in range(count):
            path = self.path(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % number + os.urandom(SIZE - len(b"%d" % number)))
            os.utime(path, (old, old))
            lines.append(f"  m{number}: {{model_ref: {path.relative_to(self.root)}}}")
        (self.root / "models.yaml").write_text("\n".join(lines) + "\n")
        time.sleep(2.1)  # files that were just written would be read once more

    def path(self, number: int) -> Path:
        """Return the path of a model."""
        return self.root / f"models{number // PER_FOLDER}" / f"{number}.bin"

    def provision(self) -> tuple[float, int]:
        """Run `doit provision`; return its seconds and its largest memory in bytes."""
        return timed(
            [sys.executable, "-m", "doit", "provision"], self.root, MODEL_PROVISIONER_STATE_DIR=str(self.state)
        )

    def forget(self) -> None:
        """Take back all that runs left."""
        for folder in (self.root / ".runtime", self.state):
            subprocess.run(["rm", "-rf", folder], check=True)


class PlainDoit:
    """What doit alone takes for `count` times three tasks that do nothing."""

    def __init__(self, folder: Path, count: int) -> None:
        self.root = folder / "plain"
        self.root.mkdir(parents=True)
        (self.root / "dodo.py").write_text(
            "from doit.tools import run_once\n"
            "DOIT_CONFIG = {'verbosity': 0, 'reporter': 'zero'}\n"
            "def nothing():\n    pass\n"
            "def task_all():\n"
            f"    for n in range({count}):\n"
            "        for s in 'abc':\n"
            "            yield {'name': f'{s}{n}', 'actions': [nothing], 'uptodate': [run_once]}\n"
        )

    def run(self) -> float:
        """Run plain doit; return its seconds."""
        return timed([sys.executable, "-m", "doit"], self.root)[0]

    def forget(self) -> None:
        """Let the next run do all tasks again."""
        for path in self.root.glob(".doit*"):
            path.unlink()


def timed(command: list[str], folder: Path, **environ: str) -> tuple[float, int]:
    """Run a command that must succeed; return its seconds and its largest memory in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return seconds, usage.ru_maxrss * 1024
