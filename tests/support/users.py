"""Other users of this machine, by their real numbers: whoever runs the tests as root can be any of them."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.project import Answer

TEAM = 2000
"""A group that users share."""

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can be other users, by setpriv of util-linux",
)

_NEEDED = {sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}
"""The folders that the program is read from."""


@dataclass(frozen=True)
class User:
    """A user with a home of their own, who is in the group of the team."""

    number: int
    home: Path
    umask: int = 0o022

    @classmethod
    def at(cls, home: Path, number: int, umask: int = 0o022) -> User:
        home.mkdir(mode=0o700)
        os.chown(home, number, number)
        return cls(number, home, umask)

    @property
    def state(self) -> Path:
        return self.home / ".local" / "state" / "model-provisioner"

    def run(self, *command: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> Answer:
        """Run a command as this user, to its end."""
        drop = ["setpriv", f"--reuid={self.number}", f"--regid={self.number}", f"--groups={self.number},{TEAM}"]
        line = shlex.join([*drop, "sh", "-c", f'umask {self.umask:04o} && exec "$@"', "sh", *map(str, command)])
        run = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"{_opened()} cd {shlex.quote(str(cwd))} && exec {line}"],
            env={
                **{
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith(("XDG_", "MODEL_PROVISIONER_"))
                },
                "HOME": str(self.home),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(environ or {}),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        answer = Answer(run.returncode, run.stdout, run.stderr)
        assert "Traceback" not in answer.all, answer.all
        return answer

    def doit(self, *arguments: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> Answer:
        return self.run(sys.executable, "-m", "doit", *arguments, cwd=cwd, environ=environ)

    def owns(self, *paths: Path, group: int | None = None) -> None:
        """Give files, folders or links to this user."""
        for path in paths:
            os.chown(path, self.number, self.number if group is None else group, follow_symlinks=False)


def _opened() -> str:
    """Return the commands that show other users, in a view of the disk of their own, what lies in a closed home of root's."""
    closed = {
        folder
        for needed in _NEEDED
        for folder in map(str, Path(needed).parents)
        if not os.stat(folder).st_mode & stat.S_IXOTH
    }
    if not closed:
        return ""
    top = shlex.quote(min(closed, key=len))
    shown = [needed for needed in sorted(_NEEDED) if needed.startswith(f"{min(closed, key=len)}/")]
    lines = ["set -e; view=$(mktemp -d); mount -t tmpfs -o mode=755 view $view"]
    for needed in shown:
        below = shlex.quote(os.path.relpath(needed, min(closed, key=len)))
        lines.append(f"mkdir -p $view/{below}; mount --bind {shlex.quote(needed)} $view/{below}")
    return "; ".join([*lines, f"mount --rbind $view {top}; umount -l $view; rmdir $view;"])


@contextmanager
def commons() -> Iterator[Path]:
    """Make a folder that every user can look into, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="commons-", dir="/tmp"))  # pytest's own is closed to others
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
