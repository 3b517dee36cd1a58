"""Two hosts on one machine: each has a mount of the shared store whose locks the other does not see, and a start of its own.

A mount of bindfs keeps flock to itself, as NFS does with `local_lock`. Name and start of the machine are those of a
namespace of its own, and the state folder is the host's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.project import Answer, document

CAN = os.geteuid() == 0 and os.path.exists("/dev/fuse") and all(map(shutil.which, ("bindfs", "unshare", "mount")))
WHY_NOT = "two mounts of one store need root, /dev/fuse and bindfs (apt-get install bindfs)"

_ENTER = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && hostname "$2" && cd "$3" && shift 3 && exec "$@"'


@dataclass(frozen=True)
class Host:
    name: str
    home: Path
    environ: dict[str, str]
    runs: list[subprocess.Popen] = field(default_factory=list)
    """All that it began."""

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def project(self) -> Path:
        return self.home / "project"

    def restart(self) -> None:
        """Let the machine have been started anew."""
        (self.home / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def models(self, names: str, more: str = "") -> None:
        """Let the project have these models of the Hub, each of one letter."""
        entries = "".join(f"  {name}: {{model_ref: 'hf:org/{name}/x.gguf'}}\n" for name in names)
        (self.project / "models.yaml").write_text(
            f"cache_dir: {self.store}\nnetwork: {{allow: [127.0.0.1]}}\n{more}"
            f"defaults: {{handoff: '{{runtime_dir}}/engines/{{name}}.json'}}\nmodels:{entries and chr(10) + entries or ' {}'}"
        )

    def start(self, *command: str) -> subprocess.Popen:
        """Begin doit on this host; the process is doit's own."""
        enter = ["unshare", "--mount", "--uts", "sh", "-c", _ENTER, "sh"]
        run = subprocess.Popen(
            [*enter, self.home / "boot_id", self.name, self.project, sys.executable, "-m", "doit", *command],
            env={**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(self.state), "HOME": str(self.home), **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self.runs.append(run)
        return run

    def end(self, run: subprocess.Popen) -> Answer:
        out, err = run.communicate(timeout=120)
        answer = Answer(run.returncode, out.decode(), err.decode())
        assert "Traceback" not in answer.all, answer.all
        return answer

    def doit(self, *command: str, code: int = 0) -> Answer:
        answer = self.end(self.start(*command))
        assert answer.code == code, answer
        return answer

    def held(self) -> dict[str, str | None]:
        """Return what is in the store, and what holds each, as `model-prune` sees it from this host; nothing goes."""
        found = document(self.doit("model-prune", "--json", "--dry-run", "--older-than", "1000d"))["result"]
        return {each["name"]: each["held_by"] for each in found["left"]}

    def handed_off(self, name: str) -> bytes:
        """Return the bytes that the handoff of a model names."""
        return Path(
            json.loads((self.project / f".runtime/engines/{name}.json").read_bytes())["model"]["path"]
        ).read_bytes()

    def let_pass(self, seconds: float) -> None:
        """Let time pass by this host's clock since it saw the files of others: it keeps when that was."""
        for path in self.state.glob("witness/*.json"):
            body = json.loads(path.read_bytes())
            body["seen"] = {name: (at, size, since - seconds) for name, (at, size, since) in body["seen"].items()}
            path.write_text(json.dumps(body))


@contextmanager
def two_hosts(home: Path, environ: dict[str, str]) -> Iterator[tuple[Host, Host, Path]]:
    """Yield two hosts, and the folder that their stores are mounts of. Both run the same image: equal names, but for one."""
    shared = home / "shared"
    shared.mkdir()
    hosts = [Host(name, home / name, environ) for name in ("a", "b")]
    try:
        for host in hosts:
            host.store.mkdir(parents=True)
            host.project.mkdir()
            (host.project / "dodo.py").write_text("from model_provisioner.plugin import DOIT_CONFIG, task_models\n")
            host.restart()
            subprocess.run(["bindfs", shared, host.store], check=True)
        yield hosts[0], hosts[1], shared
    finally:
        for host in hosts:
            for run in host.runs:
                with run:
                    run.kill()
            subprocess.run(["umount", "-l", host.store], check=False, capture_output=True)
