"""Projects of ours: so many models of such a size, driven by the command line."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from process import Sample, run

if TYPE_CHECKING:
    from pathlib import Path

SMALL = 4096
PIECE = 1 << 20
PER_FOLDER = 1000
AT_REST = 2.1
"""Seconds after which a file that was written is believed by its stat."""

BY_DOIT = (sys.executable, "-m", "doit", "provision")
BY_PROGRAM = (os.path.join(os.path.dirname(sys.executable), "model-provisioner"), "provision")


class Project:
    """`count` models of `size` random bytes, of a format that we don't know, so that only the work around them counts.

    With `files`, each is a folder of so many files of `size` bytes. `command` provisions it.
    """

    def __init__(
        self, folder: Path, count: int, size: int = SMALL, *, files: int = 0, command: tuple[str, ...] = BY_DOIT
    ) -> None:
        self._command = command
        self.count, self.size, self._files = count, size, files
        self.root, self._state, self._trash = folder / "project", folder / "state", folder / "trash"
        self._models = f"{count} model{'' if count == 1 else 's'}"

    def make(self) -> None:
        """Write models and configuration, once."""
        if self.root.exists():
            return
        self.root.mkdir(parents=True)
        lines = ["defaults: {handoff: '{runtime_dir}/engines/{name}.json'}", "models:"]
        for number in range(self.count):
            path = self.path(number)
            for each in self.files(number):
                each.parent.mkdir(exist_ok=True, parents=True)
                self._write(each)
            lines.append(f"  m{number}: {{model_ref: {path.relative_to(self.root)}}}")
        (self.root / "models.yaml").write_text("\n".join(lines) + "\n")
        os.sync()  # else the first run waits for it: it has each file on the disk before it reads it
        time.sleep(AT_REST)

    def path(self, number: int) -> Path:
        """Return the path of a model."""
        return self.root / f"models{number // PER_FOLDER}" / f"{number}.bin"

    def files(self, number: int) -> list[Path]:
        """Return the paths of a model's files."""
        path = self.path(number)
        return [path / f"{part}.bin" for part in range(self._files)] if self._files else [path]

    def _write(self, path: Path) -> None:
        """Give a file new bytes."""
        with path.open("wb") as file:
            for offset in range(0, self.size, PIECE):
                file.write(os.urandom(min(PIECE, self.size - offset)))

    def first(self, *prefix: str) -> Sample:
        """Provision, as if for the first time, under the command `prefix`."""
        self._forget()
        return self._provision(f"{self._models}: {self.count} done", *prefix)

    def again(self) -> Sample:
        """Provision where nothing is to be done."""
        return self._provision(f"{self._models}: {self.count} current")

    def changed(self) -> Sample:
        """Provision where one model has new bytes."""
        for path in self.files(self.count // 2):
            self._write(path)
        time.sleep(AT_REST)
        others = f", {self.count - 1} current" if self.count > 1 else ""
        return self._provision(f"{self._models}: 1 done{others}")

    def touched(self) -> Sample:
        """Provision where each model has a new time and the old bytes."""
        for number in range(self.count):
            for path in self.files(number):
                os.utime(path)
        time.sleep(AT_REST)
        return self._provision("confirmed by xxh3")

    def ready(self) -> None:
        """Let the next run find nothing to do."""
        self.make()
        self._provision(self._models)

    def _provision(self, expected: str, *prefix: str) -> Sample:
        """Run `doit provision`, which must say what is `expected` of it."""
        sample = run([*prefix, *self._command], self.root, {"MODEL_PROVISIONER_STATE_DIR": str(self._state)}, keep=True)
        if expected not in sample.said:
            raise SystemExit(f"{' '.join(self._command)} was to say {expected!r}, and said:\n{sample.said}")
        return sample

    def _forget(self) -> None:
        """Take back all that runs left.

        It is only moved away: where tens of thousands of files were just deleted, ext4 is slow to make new ones.
        """
        trash = self._trash / str(time.monotonic_ns())
        trash.mkdir(parents=True)
        for left in (self.root / ".runtime", self._state):
            if left.exists():
                left.rename(trash / left.name)
