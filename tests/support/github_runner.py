"""Steps of GitHub Actions, read from a workflow or a composite action and run by bash as a runner does."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_CONTEXT = re.compile(r"\b((?:inputs|steps|runner)(?:\.[\w-]+)+)")


@dataclass
class Runner:
    """A runner that has this checkout, and what the cache action keeps between jobs. Each job begins with an empty home."""

    workspace: Path
    folder: Path
    environ: Mapping[str, str]
    action_path: Path | None = None
    caches: dict[str, Path] = field(default_factory=dict)
    jobs: int = 0

    def run(self, steps: Sequence[dict[str, Any]], **inputs: str) -> Job:
        """Run the steps of one job."""
        self.jobs += 1
        job = Job(self, self.folder / f"job {self.jobs}", inputs)
        for step in steps:
            job.step(step)
        job.end()
        return job


@dataclass
class Job:
    """What became of a job: `failed`, what each step printed, and its outputs."""

    runner: Runner
    folder: Path
    inputs: Mapping[str, str]
    failed: bool = False
    log: str = ""
    values: dict[str, str] = field(default_factory=dict)
    saves: list[tuple[str, Path]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "temp").mkdir(parents=True)
        (self.folder / "home").mkdir()
        self.values = {f"inputs.{name}": value for name, value in self.inputs.items()} | {"runner.os": "Linux"}
        self.environ = {
            **self.runner.environ,
            "HOME": str(self.folder / "home"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.runner.workspace),
            "GITHUB_ACTION_PATH": str(self.runner.action_path or ""),
            "RUNNER_TEMP": str(self.folder / "temp"),
            "RUNNER_OS": "Linux",
        }

    def text(self, text: str) -> str:
        """Fill in the expressions of a text."""
        return _EXPRESSION.sub(lambda found: str(self._value(found[1])), text)

    def _value(self, expression: str) -> Any:
        asked = _CONTEXT.sub(
            lambda found: f"look({found[1]!r})", expression.replace("&&", " and ").replace("||", " or ")
        )
        names = {"look": lambda name: self.values.get(name, ""), "hashFiles": self._hash, "format": str.format}
        return eval(
            asked.strip(), {"__builtins__": {}}, {**names, "always": lambda: True, "success": lambda: not self.failed}
        )

    def _hash(self, pattern: str) -> str:
        path = self.runner.workspace / pattern
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    def step(self, step: dict[str, Any]) -> None:
        name = step.get("id", "")
        condition = step.get("if", "success()")
        if not self._value(condition if "always()" in condition else f"success() && ({condition})"):
            self.values[f"steps.{name}.outcome"] = "skipped"
            return
        if "uses" in step:
            if step["uses"].startswith("actions/cache@"):
                self._restore(step["with"])
            return
        code = self._bash(step, name)
        self.failed |= code != 0
        self.values[f"steps.{name}.outcome"] = "failure" if code else "success"

    def _bash(self, step: dict[str, Any], name: str) -> int:
        told = {each: self.folder / f"told {each}" for each in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for path in told.values():
            path.write_text("")
        script = self.folder / "step.sh"
        script.write_text(self.text(step["run"]))
        # `shell: bash` means more than the shell of a step that names none.
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail"] if step.get("shell") == "bash" else ["bash", "-e"]
        done = subprocess.run(
            [*shell, script],
            cwd=self.runner.workspace / self.text(step.get("working-directory", ".")),
            env={
                **self.environ,
                **{key: self.text(value) for key, value in step.get("env", {}).items()},
                **{key: str(path) for key, path in told.items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.log += done.stdout
        for line in told["GITHUB_OUTPUT"].read_text().splitlines():
            key, _, value = line.partition("=")
            self.values[f"steps.{name}.outputs.{key}"] = value
        self.environ |= dict(line.split("=", 1) for line in told["GITHUB_ENV"].read_text().splitlines())
        for line in told["GITHUB_PATH"].read_text().splitlines():
            self.environ["PATH"] = f"{line}:{self.environ['PATH']}"
        return done.returncode

    def _places(self, paths: str) -> list[Path]:
        return [Path(line.replace("~", self.environ["HOME"], 1)) for line in paths.split()]

    def _restore(self, asked: Mapping[str, str]) -> None:
        """As the cache action: the key, or else the newest that begins with one of the others; kept at the end of a job."""
        key, kept = self.text(asked["key"]), self.runner.caches
        begins = self.text(asked.get("restore-keys", "")).split()
        found = next((each for each in reversed(kept) if each == key or each.startswith(tuple(begins))), None)
        for number, place in enumerate(self._places(asked["path"])):
            if found is not None and (kept[found] / str(number)).exists():
                _copy(kept[found] / str(number), place)
        if key not in kept:
            self.saves.append((key, self.folder / "kept"))
            self.paths = asked["path"]

    def end(self) -> None:
        """Keep what the cache action was given, if the job succeeded."""
        for key, folder in self.saves if not self.failed else ():
            for number, place in enumerate(self._places(self.paths)):
                if place.exists():
                    _copy(place, folder / str(number))
            self.runner.caches[key] = folder


def _copy(source: Path, target: Path) -> None:
    """Copy a folder as the archives of the cache action do: with modes, times and hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def clean() -> dict[str, str]:
    """Return an environment as a runner has it: nothing in it is of this program, of its user or of another service."""
    ours = ("MODEL_PROVISIONER", "XDG", "GITHUB", "CI", "VIRTUAL_ENV", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
