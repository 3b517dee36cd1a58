"""Builds a Dockerfile's image and starts its container without an engine: layers are overlays of this machine's own files.

What an engine does is done for real: each instruction in a chroot on the layers below it, as its user, with its environment
alone, and what it wrote is a layer. `FROM` is this machine with this Python, whatever image it names.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """What one instruction wrote."""

    instruction: str
    folder: Path

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]


@dataclass(frozen=True)
class Image:
    """The layers of a stage, oldest first, and how its containers begin."""

    layers: tuple[Layer, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"
    volumes: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def run(self, words: Sequence[str], upper: Path, mounts: str = "true") -> subprocess.CompletedProcess:
        """Run a command on the layers; what it writes goes to `upper`."""
        work, root = upper.parent / f"{upper.name}.work", upper.parent / f"{upper.name}.root"
        for each in (upper, work, root):
            each.mkdir(exist_ok=True)
        lower = ":".join([*(str(layer.folder) for layer in reversed(self.layers)), "/"])
        user = (
            ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] if self.user != "root" else []
        )
        inner = shlex.join(["env", "-i", *(f"{name}={text}" for name, text in self.environ.items()), *words])
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(user)} {inner}"
        script = (
            f'mount -t overlay overlay -o "lowerdir={lower},upperdir={upper},workdir={work}" {root} && cd {root} && '
            f"mount --rbind /dev dev && mount --bind /proc proc && {mounts} && exec chroot . sh -c {shlex.quote(inside)}"
        )
        command = ["unshare", "--mount", "sh", "-c", script]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


class Build:
    """`docker build -f FILE CONTEXT`, where `environ` is that of the image which `FROM` names."""

    def __init__(self, file: Path, context: Path, folder: Path, environ: Mapping[str, str]) -> None:
        self.context, self.folder = context, folder
        self.stages: dict[str, Image] = {}
        self.base = Image((self._machine(),), environ)
        self.image = self.base
        for line in _instructions(file.read_text()):
            word, _, rest = line.partition(" ")
            getattr(self, f"_{word.lower()}")(rest.strip())

    def _machine(self) -> Layer:
        """Let every user of an image reach the Python of this machine, which lies where only ours may."""
        layer = self._layer("FROM")
        for place in (sys.base_prefix, sysconfig.get_path("purelib"), *filter(os.path.isdir, sys.path)):
            for parent in reversed(Path(place).resolve().parents):
                (layer.folder / parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
                (layer.folder / parent.relative_to("/")).chmod(0o1777 if str(parent) == "/tmp" else 0o755)
        return layer

    def _layer(self, instruction: str) -> Layer:
        number = len(list(self.folder.glob("*.layer")))
        layer = Layer(instruction, self.folder / f"{number:02}.layer")
        layer.folder.mkdir(parents=True)
        return layer

    def _from(self, rest: str) -> None:
        name, _, stage = rest.partition(" AS ")
        self.image = self.stages.get(name, self.base)
        self.name = stage or "last"
        self.stages[self.name] = self.image

    def _set(self, **changes: object) -> None:
        self.image = self.stages[self.name] = replace(self.image, **changes)

    def _write(self, instruction: str, image: Image, script: str) -> None:
        """Add a layer of what a script writes where `image` is."""
        layer = self._layer(instruction)
        done = image.run(["sh", "-ec", script], layer.folder)
        assert done.returncode == 0, f"{instruction}\n{done.stdout}"
        self._set(layers=(*self.image.layers, layer))

    def _run(self, rest: str) -> None:
        self._write(f"RUN {rest}", self.image, rest)

    def _copy(self, rest: str) -> None:
        options = dict(re.findall(r"--([\w-]+)=(\S+)", rest))
        *sources, target = re.sub(r"--\S+", "", rest).split()
        origin = self.context if "from" not in options else self._exported(self.stages[options["from"]], sources)
        lines = [f"mkdir -p {os.path.dirname(target) or '.'}"]
        for source in sources:
            place = os.path.join(target, os.path.basename(source)) if target.endswith("/") else target
            lines.append(
                f"cp -R -P --preserve=mode,timestamps -T {shlex.quote(str(origin))}/{source.lstrip('/')} {place}"
            )
            lines.append(f"chown -Rh {options.get('chown', 'root:root')} {place}")
            lines += [f"chmod {options['chmod']} {place}"] if "chmod" in options else []
        self._write(f"COPY {rest}", replace(self.image, user="root"), "\n".join(lines))

    def _exported(self, stage: Image, sources: Sequence[str]) -> Path:
        """Copy what a stage has to where the next one, which has other layers, can read it."""
        folder = self._layer("").folder
        for source in sources:
            script = f"mkdir -p {folder}{os.path.dirname(source)} && cp -a -T {source} {folder}{source}"
            done = replace(stage, user="root").run(["sh", "-ec", script], self._layer("").folder)
            assert done.returncode == 0, done.stdout
        return folder

    def _env(self, rest: str) -> None:
        self._set(environ={**self.image.environ, **dict(word.split("=", 1) for word in shlex.split(rest))})

    def _user(self, rest: str) -> None:
        self._set(user=rest)

    def _workdir(self, rest: str) -> None:
        self._write(f"WORKDIR {rest}", replace(self.image, user="root", folder="/"), f"mkdir -p {rest}")
        self._set(folder=rest)

    def _volume(self, rest: str) -> None:
        self._set(volumes=tuple(json.loads(rest)))

    def _entrypoint(self, rest: str) -> None:
        self._set(entrypoint=tuple(json.loads(rest)), command=())

    def _cmd(self, rest: str) -> None:
        self._set(command=tuple(json.loads(rest)))


class Host:
    """`docker run --read-only`: containers of an image, with the same volumes for each."""

    def __init__(self, image: Image, layers: Path, volumes: Path) -> None:
        self.image, self.layers, self.volumes, self.number = image, layers, volumes, 0
        volumes.mkdir()

    def start(self, *command: str) -> subprocess.CompletedProcess:
        """Start a container and wait for its end; a new volume holds what the image has in its place, as the engine has it."""
        self.number += 1
        mounts = ["mount -o remount,bind,ro ."]
        for volume in self.image.volumes:
            kept = self.volumes / volume.strip("/").replace("/", "-")
            if not kept.exists():
                kept.mkdir()
                mounts.append(f"cp -a --attributes-only --no-target-directory .{volume} {kept}")
            mounts.append(f"mount --bind {kept} .{volume}")
        words = [*self.image.entrypoint, *(command or self.image.command)]
        return self.image.run(words, self.layers / f"container-{self.number}", " && ".join(mounts))


def _instructions(text: str) -> list[str]:
    """Return the instructions of a Dockerfile, each in one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [" ".join(each.split()) for each in "\n".join(lines).replace("\\\n", " ").splitlines()]
