"""The lock file: what each reference of `models.yaml` stood for when it was locked, file by file.

The format is described in `docs/reference/models-lock.md`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ConfigError, InputError
from model_provisioner.models.digest import Digest, SetDigest
from model_provisioner.models.reference import LocalRef, UrlRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.models.config import Entry
    from model_provisioner.models.digest import Expected
    from model_provisioner.models.reference import ModelRef

LOCK_NAME = "models.lock"
VERSION = 1
KINDS = ("file", "split", "folder")
_HEX = re.compile(r"[0-9a-f]{64}")
_AGAIN = "take the file from version control, or make it anew: doit model-lock"


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """One file of a model: its name in the set, its bytes by number and SHA-256 (in hex)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Locked:
    """What one entry stood for."""

    ref: str
    """The reference, as `locked_ref` writes it."""
    kind: str
    """`file`, `split` or `folder`."""
    revision: str | None
    """The commit of a Hub repository, the ETag of a file; None where the source has no such thing."""
    files: tuple[LockedFile, ...]
    """Sorted by the bytes of their names."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def expected(self) -> Expected:
        """The digest that the model must have."""
        if self.kind == "file":
            return Digest("sha256", self.files[0].sha256)
        return SetDigest(tuple((file.name, Digest("sha256", file.sha256)) for file in self.files))

    def is_of(self, entry: Entry, root: str) -> bool:
        """Tell whether the entry still asks for what was locked."""
        asked = locked_ref(entry.ref, root), entry.include, entry.exclude
        return asked == (self.ref, self.include, self.exclude)


def locked_ref(ref: ModelRef, root: str) -> str:
    """Return a reference as the lock file has it: without credentials, and the same on every machine where it can be."""
    if isinstance(ref, LocalRef):
        inside = ref.path.startswith(f"{root}/")
        return f"file:{os.path.relpath(ref.path, root) if inside else ref.path}"
    return ref.id if isinstance(ref, UrlRef) else str(ref)


def render_lock(models: Mapping[str, Locked]) -> bytes:
    """Return the bytes of a lock file: sorted, one line a file, the same for the same models."""
    entries = [_render_entry(name, models[name]) for name in sorted(models)]
    inner = "\n" + ",\n".join(entries) + "\n  " if entries else ""
    return f'{{\n  "version": {VERSION},\n  "models": {{{inner}}}\n}}\n'.encode()


def _render_entry(name: str, model: Locked) -> str:
    head: dict[str, Any] = {"ref": model.ref, "kind": model.kind} | (
        {"revision": model.revision} if model.revision else {}
    )
    head |= {key: list(value) for key, value in (("include", model.include), ("exclude", model.exclude)) if value}
    lines = [f"      {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    files = [json.dumps({"path": file.name, "size": file.size, "sha256": file.sha256}) for file in model.files]
    lines += ['      "files": [', ",\n".join(f"        {file}" for file in files), "      ]"]
    return f"    {json.dumps(name)}: {{\n" + "\n".join(lines) + "\n    }"


def line_of(name: str, data: bytes) -> int:
    """Return the line of a lock file in which what it says of an entry begins; 1 where it is not written as we write it."""
    begin = f"{json.dumps(name)}:".encode()
    return next((number for number, line in enumerate(data.splitlines(), 1) if line.lstrip().startswith(begin)), 1)


def parse_lock(data: bytes, path: str) -> dict[str, Locked]:
    """Read a lock file; raise `ConfigError` with every fault. `path` is for its messages."""
    document = _document(data, path)
    faults: list[InputError] = []
    found = {}
    for name, entry in document["models"].items():
        try:
            found[name] = _parse_entry(entry)
        except (KeyError, TypeError, ValueError) as error:
            faults.append(
                InputError(
                    f"the entry {name!r} of the lock file is not as this program writes it",
                    where=path,
                    expected="ref, kind, revision and files, each file with path, size and sha256",
                    found=f"no {error}" if isinstance(error, KeyError) else str(error),
                    fix=_AGAIN,
                )
            )
    if faults:
        raise ConfigError(path, faults)
    return found


def _document(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        conflict = any(line.startswith((b"<<<<<<< ", b">>>>>>> ")) for line in data.splitlines())
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = "the lock file holds an unresolved merge" if conflict else "the lock file is not JSON"
        fault = InputError(what, where=f"{path}{line}", found=str(error), fix=_AGAIN)
        raise ConfigError(path, [fault]) from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION or not isinstance(document.get("models"), dict):
        fault = InputError(
            "the lock file is of another version",
            where=path,
            expected=f"version {VERSION}",
            found="no version" if version is None else f"version {version}",
            fix=f"use the version of model-provisioner that wrote it, or {_AGAIN}",
        )
        raise ConfigError(path, [fault])
    models: dict[str, Any] = document
    return models


def _parse_entry(entry: Any) -> Locked:
    files = tuple(_parse_file(file) for file in entry["files"])
    if not files or len({file.name for file in files}) != len(files):
        raise ValueError("no files, or one of them twice")
    if entry["kind"] not in KINDS or (entry["kind"] == "file" and len(files) != 1):
        raise ValueError(f"kind {entry['kind']!r} of {len(files)} files")
    ref, revision = entry["ref"], entry.get("revision")
    if not isinstance(ref, str) or not isinstance(revision, str | None):
        raise TypeError("ref and revision are no texts")
    files = tuple(sorted(files, key=lambda file: os.fsencode(file.name)))
    include, exclude = tuple(entry.get("include", ())), tuple(entry.get("exclude", ()))
    return Locked(ref=ref, kind=entry["kind"], revision=revision, files=files, include=include, exclude=exclude)


def _parse_file(file: Any) -> LockedFile:
    name, size, sha256 = file["path"], file["size"], file["sha256"]
    if not isinstance(name, str) or type(size) is not int or size < 0 or not _HEX.fullmatch(sha256):
        raise ValueError(f"a file of name {name!r}, size {size!r}, sha256 {sha256!r}")
    return LockedFile(name=name, size=size, sha256=sha256)
