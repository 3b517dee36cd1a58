"""The lock file: what each reference of `models.yaml` resolved to when it was locked, file by file.

The format is described in `docs/reference/models-lock.md`.
"""

from __future__ import annotations

import json
import os
from itertools import islice
from typing import TYPE_CHECKING, Any

from model_provisioner.config.entries import ROLES, Locked, LockedFile
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import JSON_LIMIT, read_if_there
from model_provisioner.invocation import command as called
from model_provisioner.json_text import parse_json
from model_provisioner.references.digest import SHA256_HEX
from model_provisioner.references.file_names import is_beyond_locale, is_file_name
from model_provisioner.references.reference import HubRef, LocalRef, OciRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.config.entries import Config
    from model_provisioner.references.reference import ModelRef

LOCK_NAME = "models.lock"
VERSION = 1
KINDS = ("file", "split", "folder")


def _again() -> str:
    return (
        f"take the file from version control; or remove it, and `{called('lock')}` makes it anew of what is there now"
    )


def lock_path(config: Config) -> str:
    """Return where the lock file of a configuration lies."""
    return lock_path_of(config.path)


def lock_path_of(config: str) -> str:
    """Return where the lock file of the `models.yaml` at a path lies: beside it."""
    return os.path.join(os.path.dirname(config), LOCK_NAME)


def read_lock(path: str) -> bytes | None:
    """Return the bytes of the lock file, None where there is none. Raises `ConfigError` for what is no file."""
    if not may_be_there(path):
        return None
    if (data := read_if_there(path, JSON_LIMIT)) is not None:
        return data
    fault = InputError(
        "the lock file can't be read",
        where=path,
        expected=f"a file of at most {JSON_LIMIT:,} bytes that you may read",
        found="a larger one, or one that you may not",
        fix="make it readable, or remove it: then nothing is locked",
    )
    raise ConfigError(path, [fault])


def locked_ref(ref: ModelRef, root: str) -> str:
    """Return a reference as the lock file has it: without credentials, and the same on every machine where it can be."""
    if isinstance(ref, LocalRef):
        return f"file:{ref.written}" if ref.written else _resolved(ref, root)
    if isinstance(ref, HubRef) and ref.url is not None:
        return ref.url.id  # whatever Hub a machine has, and as earlier versions have it
    return ref.texts[0]


def is_locked_as(text: str, ref: ModelRef, root: str) -> bool:
    """Tell whether `text` is how the lock file has a reference.

    Before paths with `~` were locked as they are written, they were locked as what they led to: that holds on. A file of a
    Hub may have been locked by its URL, or as `hf:`, and the tag `latest` of an artifact without or with its name.
    """
    if text == locked_ref(ref, root):
        return True
    if isinstance(ref, LocalRef):
        return text == _resolved(ref, root)
    return isinstance(ref, HubRef | OciRef) and ref.is_meant_by(text)


def _resolved(ref: LocalRef, root: str) -> str:
    return f"file:{os.path.relpath(ref.path, root) if ref.path.startswith(f'{root}/') else ref.path}"


def render_lock(models: Mapping[str, Locked]) -> bytes:
    """Return the bytes of a lock file: sorted, one line a file, the same for the same models."""
    entries = [_render_entry(name, models[name]) for name in sorted(models)]
    inner = "\n" + ",\n".join(entries) + "\n  " if entries else ""
    return f'{{\n  "version": {VERSION},\n  "models": {{{inner}}}\n}}\n'.encode()


def _render_entry(name: str, model: Locked) -> str:
    lines = _render_part(model, "      ")
    if model.companions:
        companions = [
            "        {\n" + "\n".join(_render_part(each, " " * 10)) + "\n        }" for each in model.companions
        ]
        lines[-1] += ","
        lines += ['      "companions": [', ",\n".join(companions), "      ]"]
    return f"    {json.dumps(name)}: {{\n" + "\n".join(lines) + "\n    }"


def _render_part(model: Locked, indent: str) -> list[str]:
    head: dict[str, Any] = {} if model.role == "model" else {"role": model.role}
    head |= {"ref": model.ref, "kind": model.kind} | ({"revision": model.revision} if model.revision else {})
    head |= {key: list(value) for key, value in (("include", model.include), ("exclude", model.exclude)) if value}
    lines = [f"{indent}{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    files = [json.dumps({"path": file.name, "size": file.size, "sha256": file.sha256}) for file in model.files]
    return [*lines, f'{indent}"files": [', ",\n".join(f"{indent}  {file}" for file in files), f"{indent}]"]


def line_of(name: str, data: bytes) -> int:
    """Return the line of a lock file in which what it says of an entry begins; 1 where it is not written as we write it."""
    begin = f"{json.dumps(name)}:".encode()
    return next((number for number, line in enumerate(data.splitlines(), 1) if line.lstrip().startswith(begin)), 1)


def parse_lock(data: bytes, path: str) -> dict[str, Locked]:
    """Read a lock file; raise `ConfigError` with every fault and its line. `path` is for its messages."""
    document = _document(data, path)
    if next(_entry_faults(document["models"]), None) is not None:
        raise ConfigError(path, _worded(data, path, document["models"]))
    return {name: _locked(entry) for name, entry in document["models"].items()}


class _TwiceError(ValueError):
    """A name that stands twice in one object, of which JSON would take the last."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _document(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = parse_json(data, _once)
    except _TwiceError:
        raise ConfigError(path, _worded(data, path, {})) from None
    except ValueError as error:
        conflict = any(line.startswith((b"<<<<<<< ", b">>>>>>> ")) for line in data.splitlines())
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = "the lock file holds an unresolved merge" if conflict else "the lock file is not JSON"
        fault = InputError(what, where=f"{path}{line}", expected="JSON", found=str(error), fix=_again())
        raise ConfigError(path, [fault]) from None
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version != VERSION or not isinstance(document.get("models"), dict):
        fault = InputError(
            "the lock file is of another version",
            where=path,
            expected=f"version {VERSION}, and models",
            found="no version" if version is None else f"version {version!r:.40}",
            fix=f"use the version of model-provisioner that wrote it, or {_again()}",
        )
        raise ConfigError(path, [fault])
    models: dict[str, Any] = document
    return models


def _worded(data: bytes, path: str, models: Any) -> list[InputError]:
    """Return all faults of the entries, with their lines: only for them is the file read once more, as YAML."""
    from model_provisioner.config.document import read_document
    from model_provisioner.config.faults import MAX_FAULTS, short

    document = None
    try:
        document = read_document(data, path)
        before, read = document.faults, document.data
        models = models or (read.get("models") if isinstance(read, dict) else None)
    except ConfigError as error:  # JSON has names of files that YAML has not: then the lines are not known
        before = error.faults
    named = [
        InputError(
            f"the entry {place[0]!r} of the lock file is not as this program writes it",
            where=path if document is None else document.where(("models", *place)),
            expected=expected,
            found="nothing" if found is _NOTHING else short(found),
            fix=_again(),
        )
        for place, expected, found in islice(_entry_faults(models if isinstance(models, dict) else {}), MAX_FAULTS)
    ]
    return named if document is None and named else [*before, *named]


_NOTHING = object()


def _entry_faults(models: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, object]]:
    """Yield where each fault is below `models`, what is expected there, and what is found."""
    for name, entry in models.items():
        yield from _part_faults((name,), entry)
        companions = entry.get("companions", []) if isinstance(entry, dict) else []
        if not isinstance(companions, list):
            yield (name, "companions"), "companions: a list", companions
            continue
        for number, each in enumerate(companions):
            place = (name, "companions", number)
            yield from _part_faults(place, each)
            if isinstance(each, dict) and (role := each.get("role", _NOTHING)) not in ROLES:
                yield (*place, "role"), f"role: {' or '.join(ROLES)}", role


def _part_faults(base: tuple[str | int, ...], entry: Any) -> Iterator[tuple[tuple[str | int, ...], str, object]]:
    """Yield the faults of a model without its companions, or of one of them, that stands at `base`."""
    if not isinstance(entry, dict):
        yield base, "ref, kind and files", entry
        return
    ref, kind, files = (entry.get(key, _NOTHING) for key in ("ref", "kind", "files"))
    if not isinstance(ref, str):
        yield (*base, "ref"), "ref: a reference", ref
    if kind not in KINDS:
        yield (*base, "kind"), f"kind: {', '.join(KINDS[:-1])} or {KINDS[-1]}", kind
    if not isinstance(revision := entry.get("revision"), str | None):
        yield (*base, "revision"), "revision: a text", revision
    for key in ("include", "exclude"):
        patterns = entry.get(key, [])
        if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
            yield (*base, key), f"{key}: a list of patterns", patterns
    if not isinstance(files, list) or not files:
        yield (*base, "files"), "files: a list of at least one", files
        return
    if kind == "file" and len(files) != 1:
        yield (*base, "files"), "one file, as the kind says", len(files)
    names: set[str] = set()
    for number, file in enumerate(files):
        place = (*base, "files", number)
        if not isinstance(file, dict):
            yield place, "path, size and sha256", file
            continue
        path, size, sha256 = (file.get(key, _NOTHING) for key in ("path", "size", "sha256"))
        # A name that only this process can't use is sound: who opens the file says so.
        if not isinstance(path, str) or not (is_file_name(path) or is_beyond_locale(path)) or path in names:
            yield (*place, "path"), "path: a name that no other file has", path
        else:
            names.add(path)
        if type(size) is not int or size < 0:
            yield (*place, "size"), "size: a number of bytes", size
        if not isinstance(sha256, str) or not SHA256_HEX.fullmatch(sha256):
            yield (*place, "sha256"), "sha256: 64 hexadecimal digits in lower case", sha256


def _locked(entry: dict[str, Any], role: str = "model") -> Locked:
    files = (LockedFile(name=each["path"], size=each["size"], sha256=each["sha256"]) for each in entry["files"])
    return Locked(
        ref=entry["ref"],
        kind=entry["kind"],
        revision=entry.get("revision"),
        files=tuple(sorted(files, key=lambda file: os.fsencode(file.name))),
        include=tuple(entry.get("include", ())),
        exclude=tuple(entry.get("exclude", ())),
        role=role,
        companions=tuple(_locked(each, each["role"]) for each in entry.get("companions", ())),
    )
