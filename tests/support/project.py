"""A project in a temporary folder, driven through doit's command line as a user drives it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from jsonschema import Draft202012Validator

from model_provisioner.fs import clock
from tests.support.in_process import doit_here, program_here, run_here

ROOT = Path(__file__).parents[2]
DOCUMENT = Draft202012Validator(
    json.loads(
        re.search(r"^```json title=\"schema\"\n(.*?)^```$", (ROOT / "docs/reference/json.md").read_text(), re.M | re.S)[
            1
        ]
    )
)
"""The JSON Schema of what every command prints with `--json`, as the reference has it."""
TINY = ROOT / "models" / "tiny-llama.gguf"
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

    def surroundings(self) -> dict[str, str]:
        """Return the environment in which doit runs."""
        return {
            **os.environ,
            "MODEL_PROVISIONER_STATE_DIR": str(self.state),
            "PYTHONWARNINGS": "error,ignore::ResourceWarning",  # doit leaves the pipes of its commands open
            **self.environ,
        }

    def start(self, *args: str, cwd: str | Path | None = None, **options) -> subprocess.Popen:
        """Begin a doit process: for crashes, signals, imports, locales, terminals, and what runs at the same time."""
        return subprocess.Popen(
            [sys.executable, "-m", "doit", *args],
            cwd=cwd or self.root,
            env=self.surroundings(),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
        )

    def start_program(self, *args: str, **options) -> subprocess.Popen:
        """Begin a process of `model-provisioner`."""
        return subprocess.Popen(
            [sys.executable, "-m", "model_provisioner", *args],
            cwd=self.root,
            env=self.surroundings(),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
        )

    def process(self, *args: str, cwd: str | Path | None = None, code: int | None = 0) -> Answer:
        """Run doit in a process of its own, to its end."""
        process = self.start(*args, cwd=cwd)
        out, err = process.communicate(timeout=120)
        return _expected(Answer(process.returncode, out.decode(), err.decode()), code)

    def doit(self, *args: str, cwd: str | Path | None = None, code: int | None = 0) -> Answer:
        """Run doit in this process, which takes a fifth of the time."""
        return _expected(Answer(*run_here(doit_here, args, cwd or self.root, self.surroundings())), code)

    def program(self, *args: str, cwd: str | Path | None = None, code: int | None = 0) -> Answer:
        """Run `model-provisioner` in this process."""
        return _expected(Answer(*run_here(program_here, args, cwd or self.root, self.surroundings())), code)

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

    def json(self, *args: str, code: int | None = 0, cwd: str | Path | None = None) -> dict:
        """Run doit with `--json`; return the document, which is all that is printed."""
        return document(self.doit(*args, "--json", code=code, cwd=cwd))

    def why(self, name: str) -> list[str]:
        found = self.json("model-why", name)
        (model,) = found["models"]
        assert found["result"]["current"] == ([] if model["reasons"] else [name])
        return [reason["text"] for reason in model["reasons"]]

    def rows(self) -> dict[str, dict]:
        """Return what `model-list` tells of each model, in one, with digests as texts."""
        found = self.json("model-list")
        pairs = zip(found["models"], found["result"]["catalog"], strict=True)
        return {
            model["name"]: {**row, **model, "digest": model["digest"] and ":".join(model["digest"].values())}
            for model, row in pairs
        }

    def provenance(self) -> list[dict]:
        path = self.root / ".runtime" / "provenance" / "models.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def document(answer: Answer) -> dict:
    """Return the JSON document that a command printed, and nothing else; it is as the page of the reference says."""
    found = json.loads(answer.out)
    DOCUMENT.validate(found)
    assert found["exit_code"] == answer.code
    return found


def forget_verifications(project: Project) -> None:
    """Forget what was recorded of verifications, of which a catalog of version 0.1 had nothing."""
    with closing(sqlite3.connect(project.state / "catalog.db")) as connection, connection:
        connection.execute("DELETE FROM verification")


def _expected(answer: Answer, code: int | None) -> Answer:
    assert "Traceback" not in answer.all, answer.all
    if code is not None:
        assert answer.code == code, answer
    return answer


AT_ONCE = 10
"""Seconds within which an answer came at once, on a machine that has much else to do; what it must not wait for takes longer."""


def wait_for_handlers(process: subprocess.Popen) -> None:
    """Wait until one of our commands, in a process that was just started, handles signals."""
    bit = 1 << (signal.SIGTERM - 1)
    status = Path(f"/proc/{process.pid}/status")
    while not int(re.search(r"^SigCgt:\s+(\w+)", status.read_text(), re.MULTILINE)[1], 16) & bit:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    time.sleep(0.3)


def cpu_seconds(process: subprocess.Popen) -> float:
    """Return the time for which a process that runs had a processor."""
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def read_only(folder: Path) -> str:
    """Return the command that makes a folder a read-only file system."""
    path = shlex.quote(str(folder))
    return f"mount --bind {path} {path} && mount -o remount,ro,bind {path}"


_clock = clock._clock
_settled_ns = 0


def settle() -> None:
    """Let all that was written until now count as at rest, in this process: as if the margin had gone by."""
    global _settled_ns
    time.sleep(clock.TICK_NS / 1e9)
    _settled_ns = time.time_ns()


def settle_in_every_process() -> None:
    """Wait until what was just written counts as at rest (git's racily-clean rule)."""
    time.sleep(clock.MARGIN_NS / 1e9 + 0.1)


def clock_after_settle(path: str, device: int, mountinfo: str) -> tuple[int, int]:
    """Stand in for the clock's own: what was written before `settle` is at rest, what came after it not sooner than ever."""
    now, margin = _clock(path, device, mountinfo)
    return now, min(margin, now - _settled_ns) if _settled_ns <= now and margin == clock.MARGIN_NS else margin
