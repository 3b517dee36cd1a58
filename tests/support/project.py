"""A project in a temporary folder, driven through doit's command line as a user drives it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TINY = Path(__file__).parents[2] / "models" / "tiny-llama.gguf"
DODO = "from model_provisioner.plugin import DOIT_CONFIG, task_models\n"


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Project:
    root: Path
    state: Path
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def models(self, text: str) -> Path:
        return self.write("models.yaml", text)

    def add_tiny(self, name: str = "models/tiny.gguf") -> Path:
        """Put the shipped model into the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TINY, path)
        return path

    def start(self, *args: str, cwd: str | Path | None = None, **options) -> subprocess.Popen:
        environ = {
            **os.environ,
            "MODEL_PROVISIONER_STATE_DIR": str(self.state),
            "PYTHONWARNINGS": "error,ignore::ResourceWarning",  # doit leaves the pipes of its commands open
            **self.environ,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "doit", *args],
            cwd=cwd or self.root,
            env=environ,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
        )

    def doit(self, *args: str, cwd: str | Path | None = None, code: int | None = 0) -> Answer:
        process = self.start(*args, cwd=cwd)
        out, err = process.communicate(timeout=120)
        answer = Answer(process.returncode, out.decode(), err.decode())
        assert "Traceback" not in answer.all, answer.all
        if code is not None:
            assert answer.code == code, answer
        return answer

    def provision(self, *args: str, code: int | None = 0, cwd: str | Path | None = None) -> Answer:
        return self.doit("provision", *args, code=code, cwd=cwd)

    def mounted(self, mount: str, *args: str) -> tuple[int, str]:
        """Run doit where `mount` (a shell command) was done first, unseen by the rest of the machine."""
        here = shlex.quote(str(self.root))
        command = f"{mount} && cd {here} && exec {shlex.quote(sys.executable)} -m doit {shlex.join(args)}"
        run = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
            cwd=self.root,
            env={**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in run.stdout + run.stderr, run
        return run.returncode, run.stdout + run.stderr

    def handoff(self, name: str = "llamacpp") -> dict | None:
        path = self.root / ".runtime" / "engines" / f"{name}.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def why(self, name: str) -> list[str]:
        (found,) = json.loads(self.doit("model-why", name, "--json").out)
        assert found["current"] == (not found["reasons"])
        return [reason["text"] for reason in found["reasons"]]

    def rows(self) -> dict[str, dict]:
        return {row["name"]: row for row in json.loads(self.doit("model-list", "--json").out)}

    def provenance(self) -> list[dict]:
        path = self.root / ".runtime" / "provenance" / "models.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def read_only(folder: Path) -> str:
    """Return the command that makes a folder a read-only file system."""
    path = shlex.quote(str(folder))
    return f"mount --bind {path} {path} && mount -o remount,ro,bind {path}"


def settle() -> None:
    """Wait until what was just written counts as at rest (git's racily-clean rule)."""
    time.sleep(2.1)
