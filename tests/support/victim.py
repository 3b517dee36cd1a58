"""A user who clones a stranger's project and runs it: what else lies in the user's home is compared byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.in_process import doit_here, run_here
from tests.support.project import TINY, Answer

MEMORY = 512 << 20
"""No command may take more bytes of memory than this, whatever it is given to read."""

_MEASURE = """
import os, resource, sys
os.chdir(sys.argv[1])
os.set_inheritable(3, False)
code = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
os.write(3, str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
os.kill(os.getpid(), -code) if code < 0 else os._exit(code)
"""
"""What stands between this process and the command: a new process begins with the memory of the one that starts it, and
a pytest that has run for long is large."""


@dataclass(frozen=True)
class Victim:
    """A home with a few files of the user's own, and a clone in it of a project that a stranger wrote."""

    home: Path

    @property
    def clone(self) -> Path:
        """The folder of the stranger's project."""
        return self.home / "src" / "clone"

    @property
    def state(self) -> Path:
        return self.home / ".local" / "state" / "model-provisioner"

    @classmethod
    def at(cls, home: Path) -> Victim:
        """Make the home, with a sound project of one shipped model as the clone."""
        victim = cls(home)
        for name, text in {
            ".bashrc": "export EDITOR=ed\n",
            ".ssh/authorized_keys": "ssh-ed25519 AAAA victim\n",
            "release/tiny.sha256": "the user's own\n",
            "papers/thesis.tex": "years of work\n",
            "other/models.yaml": "models: {}\n",
        }.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (1e9, 1e9))
        victim.write("models/tiny.gguf", TINY.read_bytes())
        victim.write("models.yaml", "models:\n  tiny:\n    model_ref: models/tiny.gguf\n    engine: llamacpp\n")
        return victim

    def write(self, name: str, content: str | bytes) -> Path:
        """Put a file into the clone, as a commit would."""
        path = self.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def link(self, name: str, target: str | Path) -> Path:
        """Put a symbolic link into the clone, as a commit would."""
        path = self.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return path

    def doit(self, *arguments: str, cwd: Path | None = None, environ: dict[str, str] | None = None) -> Answer:
        """Run doit in the clone as the user would, in this process; whatever it prints, it is no traceback."""
        ran = Answer(*run_here(doit_here, arguments, cwd or self.clone, self._surroundings(environ)))
        assert "Traceback" not in ran.all, ran.all
        return ran

    def bounded(self, *arguments: str, environ: dict[str, str] | None = None, seconds: float = 120) -> Answer:
        """Run doit so in a process of its own, and hold that it ends, and takes less than `MEMORY`."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as measured:
            actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in ((1, out), (2, err))]
            actions.append((os.POSIX_SPAWN_DUP2, measured.fileno(), 3))
            command = [sys.executable, "-S", "-c", _MEASURE, str(self.clone)]
            command += ["timeout", "-k", "5", str(seconds), sys.executable, "-m", "doit", *arguments]
            pid = os.posix_spawn(sys.executable, command, self._surroundings(environ), file_actions=actions)
            _, status = os.waitpid(pid, 0)
            texts = []
            for file in (out, err, measured):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        memory = int(texts.pop()) * 1024
        ran = Answer(os.waitstatus_to_exitcode(status), *texts)
        assert "Traceback" not in ran.all, ran.all
        assert ran.code != 124, f"it hangs: {ran}"
        assert memory < MEMORY, f"it took {memory:,} bytes of memory"
        return ran

    def _surroundings(self, environ: dict[str, str] | None) -> dict[str, str]:
        """Return the environment of the user, with more in it."""
        ours = ("XDG_", "MODEL_PROVISIONER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "HOME": str(self.home), **(environ or {})}

    def tree(self) -> dict[str, str]:
        """Return all that lies in the home beside the clone and what is ours, each with its kind, mode, time and bytes."""
        ours = {str(self.clone), str(self.state), str(self.home / ".cache" / "models")}
        found = {}
        for above, folders, names in os.walk(self.home):
            folders[:] = [name for name in folders if os.path.join(above, name) not in ours]
            for name in (*folders, *names):
                path = os.path.join(above, name)
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    told = f"-> {os.readlink(path)}"
                elif stat.S_ISREG(status.st_mode):
                    told = f"{status.st_mtime_ns} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
                else:
                    told = ""
                found[os.path.relpath(path, self.home)] = f"{status.st_mode:o} {told}"
        # The folders that a first run makes for what is ours.
        return {name: told for name, told in found.items() if name not in {".local", ".local/state", ".cache"}}

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Hold that nothing in the home changes meanwhile but the clone and what is ours."""
        before = self.tree()
        yield
        after = self.tree()
        assert after == before, {
            name: (before.get(name), after.get(name))
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        }
