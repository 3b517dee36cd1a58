"""From a document to a configuration: every fault of the file in one error."""

from __future__ import annotations

import difflib
import os
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ConfigError, InputError, InvalidDigestError, InvalidReferenceError
from model_provisioner.models.amounts import SIZES, parse_size
from model_provisioner.models.config import DEFAULT_CACHE_DIR, Config, Entry, shown_path
from model_provisioner.models.document import shown
from model_provisioner.models.expected import parse_expected, parse_sha256, short
from model_provisioner.models.handoff_path import HandoffPaths
from model_provisioner.models.policy import fault_of
from model_provisioner.models.reference import HubRef, LocalRef, ModelRef, ObjectRef
from model_provisioner.models.schema import (
    DEFAULT_HANDOFF,
    ENGINE_PATTERN,
    NAME_PATTERN,
    Cache,
    Defaults,
    Network,
    Project,
    Single,
)
from model_provisioner.models.schema import Entry as EntryForm
from model_provisioner.models.surroundings import HERE, Surroundings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from model_provisioner.models.digest import Expected
    from model_provisioner.models.document import Document
    from model_provisioner.models.lines import Path

    Found = tuple[Path, str, dict[str, Any], Expected | None]
    """An entry of the file: its place, name and fields, and what its `expected_digest` means."""

MAX_FAULTS = 1000
FILES_OF_DOIT = ("dodo.py", "pyproject.toml", "doit.cfg")
_NAME, _ENGINE = re.compile(NAME_PATTERN), re.compile(ENGINE_PATTERN)
HANDOFF_TO_ADD = 'handoff: "{runtime_dir}/engines/{name}.json"'


class ConfigReader:
    """Gathers the faults of one document while it makes the configuration."""

    def __init__(self, document: Document, path: str, cache_dir: str | None) -> None:
        self._document, self._path, self._cache_dir = document, path, cache_dir
        self._faults = list(document.faults)
        self._untold = False
        self._surroundings = Surroundings()

    def read(self) -> Config:
        """Return the configuration, or raise all faults at once."""
        data = self._top()
        single = "models" not in data
        entries = [self._single(data)] if single else self._several(data)
        around = self._surroundings
        root = around.ask(HERE) if single else around.ask(os.path.dirname(self._path))
        # Without links, so that a folder under two names is one, and what was written under the other is found.
        runtime_dir = around.ask(around.absolute(self._path_text(data, "runtime_dir", ".runtime"), root))
        found = self._entries(entries, root, runtime_dir)
        config = Config(
            path=self._path,
            root=root,
            cache_dir=around.absolute(self._cache_dir, around.ask(HERE))
            if self._cache_dir
            else around.absolute(self._path_text(data, "cache_dir", DEFAULT_CACHE_DIR), root),
            runtime_dir=runtime_dir,
            allow=self._hosts(data.get("network")),
            recheck=data.get("recheck", "xxh3"),
            entries=MappingProxyType(found),
            answers=tuple(around.answers.items()),
            handoffs=tuple(entry.handoff for entry in found.values()),
            max_size=self._max_size(data.get("cache")),
            remote=tuple(name for name, entry in found.items() if not entry.ref.is_local),
        )
        self._raise()
        return config

    def _path_text(self, data: dict[str, Any], name: str, default: str) -> str:
        value = data.get(name, default)
        return value if isinstance(value, str) else default  # told already

    def _raise(self) -> None:
        if self._faults:
            faults = sorted(self._faults, key=self._line_of)
            if self._untold:
                what = "there are more faults than are told at once"
                faults.append(InputError(what, where=self._document.name, fix="mend the others first"))
            raise ConfigError(self._document.name, faults)

    def _line_of(self, fault: InputError) -> int:
        match = re.match(r":(\d+)", fault.where.removeprefix(self._document.name))
        return int(match[1]) if match else 0

    def _fault(self, path: Path, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        if len(self._faults) >= MAX_FAULTS:
            self._untold = True
            return
        self._faults.append(InputError(what, where=self._document.where(path), expected=expected, found=found, fix=fix))

    # ---- the form: pydantic finds the faults, we word them

    def _top(self) -> dict[str, Any]:
        data = self._document.data
        if not isinstance(data, dict) or not ({"models", "model_ref"} & data.keys()):
            what = "the file is empty" if data is None else "the file names no model"
            fix = 'write   models: {tiny: {model_ref: "file:models/tiny.gguf"}}'
            for name in list(data)[:MAX_FAULTS] if isinstance(data, dict) else ():
                if near := difflib.get_close_matches(name, ("models", "model_ref"), n=1):
                    fix = f"write {near[0]} in the place of {shown(name)}"
            self._fault(
                (),
                what,
                expected="a mapping with models: (several models, by name) or model_ref: (one)",
                found="nothing" if data is None else short(data),
                fix=fix,
            )
            self._raise()
        if "models" in data and "model_ref" in data:
            self._fault(
                ("model_ref",),
                "one model at the top level and several under models: are two forms of the file",
                fix="move the fields of the one model under models:, by a name of its own",
            )
            self._raise()
        return dict(data)

    def _single(self, data: dict[str, Any]) -> Found:
        self._validate(Single, data, ())
        expected = self._expected((), data)
        return (), str(data.get("engine", "llamacpp")), data, expected

    def _several(self, data: dict[str, Any]) -> list[Found]:
        defaults = data.get("defaults")
        told = {} if isinstance(defaults, dict) else defaults
        if isinstance(defaults, dict):
            wrong, before = self._validate(Defaults, defaults, ("defaults",)), len(self._faults)
            self._expected(("defaults",), defaults)
            if len(self._faults) > before:
                wrong.add("expected_digest")
            # A fault of the defaults is told once, and not again for each entry.
            defaults = {name: value for name, value in defaults.items() if name not in wrong}
        else:
            defaults = {}
        models = data["models"]
        if isinstance(models, dict):
            models = {name: {**defaults, **each} if isinstance(each, dict) else each for name, each in models.items()}
        self._validate(Project, {**data, "models": models, "defaults": told}, ())
        found = models.items() if isinstance(models, dict) else ()
        return [
            (("models", name), name, each, self._expected(("models", name), each))
            for name, each in found
            if isinstance(each, dict)
        ]

    def _validate(self, model: Any, data: Any, base: Path) -> set[str]:
        """Note the faults in the form of `data`; return the names of the fields that have one."""
        from pydantic import ValidationError

        try:
            model.model_validate(data)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            for found in errors[: MAX_FAULTS + 1]:
                place: Path = tuple(step for step in found["loc"] if step != "[key]")
                self._word((*base, *place), found, _fields_around(model, place))
            return {str(found["loc"][0]) for found in errors if found["loc"]}
        return set()

    def _word(self, path: Path, error: Any, fields: Iterable[str]) -> None:
        kind, value, name = error["type"], error["input"], shown(str(path[-1])) if path else ""
        if kind == "missing":
            self._fault(path[:-1], f"{name} is missing", fix=f"add   {name}: {_EXAMPLES.get(name, '…')}")
        elif kind == "extra_forbidden":
            near = difflib.get_close_matches(name, list(fields), n=1)
            self._fault(
                path,
                f"unknown field {name!r}",
                expected="one of " + ", ".join(fields),
                found=name,
                fix=f"write {near[0]}" if near else "remove it",
            )
        elif kind == "string_pattern_mismatch":
            what, expected = _PATTERNS["engine" if name == "engine" else "models"]
            self._fault(path, what, expected=expected, found=short(value), fix="choose a name of these characters")
        else:
            expected, fix = _TYPES.get(kind, ("another value", "see docs/reference/models-yaml.md"))
            what = f"{name or 'the file'} has the wrong type"
            if kind == "literal_error":
                what, expected = f"{name} has no such value", error["ctx"]["expected"]
            if kind == "string_type" and isinstance(value, bool | int | float):
                fix = "put it in quotes: without, YAML takes it for a " + (
                    "boolean" if isinstance(value, bool) else "number"
                )
            self._fault(path, what, expected=expected, found=short(value), fix=fix)

    # ---- the meaning

    def _entries(self, found: list[Found], root: str, runtime_dir: str) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        writers: dict[str, Entry] = {}
        handoffs = HandoffPaths(root, runtime_dir, self._surroundings)
        for path, name, fields, expected in found:
            ref = self._reference((*path, "model_ref"), fields.get("model_ref"), root)
            engine = fields.get("engine", "llamacpp")
            handoff = self._handoff((*path, "handoff"), fields, name, root, handoffs)
            if ref is None or handoff is None:
                continue
            entry = Entry(
                name=name,
                ref=ref,
                expected=expected,
                strict=fields.get("strict_verification", True),
                engine=engine,
                handoff=handoff,
                line=self._document.line(path),
                include=_texts(fields.get("include")),
                exclude=_texts(fields.get("exclude")),
                keep=fields.get("keep") is True,
            )
            self._check_patterns(path, entry)
            if (other := writers.setdefault(handoff, entry)) is not entry:
                self._fault(
                    path,
                    f"{other.name} and {name} would write one handoff",
                    expected="a handoff of its own for each model",
                    found=f"{shown_path(handoff)}, for {other.name} (line {other.line}) and {name} (line {entry.line})",
                    fix=f"add to one of them, or to defaults:   {HANDOFF_TO_ADD}",
                )
            entries[name] = entry
        self._check_places(entries)
        return entries

    def _check_places(self, entries: dict[str, Entry]) -> None:
        """Note the handoffs that would take the place of a model, or lie in its folder and so change it."""
        models = {entry.ref.path: entry for entry in entries.values() if isinstance(entry.ref, LocalRef)}
        above: dict[str, str] = {}
        for writer in entries.values():
            place = writer.handoff
            if place not in models:
                folder = place.rpartition("/")[0] or "/"
                if folder not in above:
                    above[folder] = _nearest(folder, models)
                place = above[folder]
            if (model := models.get(place)) is None:
                continue
            self._fault(
                ("handoff",) if self._document.data.get("models") is None else ("models", writer.name, "handoff"),
                f"the handoff of {writer.name} would take the place of the model {model.name}"
                if place == writer.handoff
                else f"the handoff of {writer.name} would lie in the folder of the model {model.name}",
                expected="a file of its own",
                found=shown_path(writer.handoff),
                fix=f"choose another name:   {HANDOFF_TO_ADD}",
            )

    def _hosts(self, network: Any) -> tuple[str, ...]:
        hosts = _texts(network.get("allow") if isinstance(network, dict) else None)
        for number, host in enumerate(hosts):
            if (fault := fault_of(host)) is not None:
                self._fault(
                    ("network", "allow", number),
                    f"not a host: {fault}",
                    expected="a name, an address, *.NAME, or huggingface",
                    found=short(host.rpartition("@")[2]),
                    fix="write the host alone; every port of it is allowed",
                )
        return tuple(host.lower() for host in hosts)

    def _max_size(self, cache: Any) -> int | None:
        value = cache.get("max_size") if isinstance(cache, dict) else None
        if value is None or (size := parse_size(value)) is not None:
            return None if value is None else size
        self._fault(
            ("cache", "max_size"),
            "max_size is no size",
            expected=f"{SIZES}; the units are B, KB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024)",
            found=short(value),
            fix="write   cache: {max_size: 200GB}",
        )
        return None

    def _check_patterns(self, path: Path, entry: Entry) -> None:
        ref = entry.ref
        whole = (isinstance(ref, HubRef) and ref.path is None) or (isinstance(ref, ObjectRef) and ref.key.endswith("/"))
        for name, patterns in (("include", entry.include), ("exclude", entry.exclude)):
            if patterns and not whole:
                self._fault(
                    (*path, name),
                    f"{name} says which files of many are taken, and {entry.name} is not a whole repository or prefix",
                    expected="hf:ORG/REPO or s3://BUCKET/PREFIX/",
                    found=ref.id,
                    fix=f"remove {name}, or name the repository",
                )

    def _reference(self, path: Path, text: Any, root: str) -> ModelRef | None:
        if not isinstance(text, str):
            return None  # told already
        try:
            ref = ModelRef.parse(text)
            if not isinstance(ref, LocalRef):
                return ref
            return ref.absolute(root, self._surroundings)
        except InvalidReferenceError as error:
            self._fault(path, error.what, expected=error.expected, found=error.found, fix=error.fix)
            return None

    def _expected(self, base: Path, fields: dict[str, Any]) -> Expected | None:
        """Return what the expected digest of an entry or of the defaults means, or note its faults."""
        if (value := fields.get("expected_digest")) is None:
            return None
        path = (*base, "expected_digest")
        if isinstance(value, dict) and not (value.keys() <= {"algo", "value"}) and not self._is_set(path, value):
            return None
        try:
            return parse_expected(value)
        except InvalidDigestError as error:
            self._fault(path, error.what, expected=error.expected, found=error.found, fix=error.fix)
            return None

    def _is_set(self, path: Path, files: dict[str, Any]) -> bool:
        """Tell whether these are files and their digests, or note where they are not."""
        sound = True
        for name, each in files.items():
            if not _is_inner_path(name):
                sound = False
                self._fault(
                    (*path, name),
                    "not the path of a file in a set",
                    expected="a relative path without ..",
                    found=short(name),
                    fix="write the path as it is inside the folder, or the shard's base name",
                )
            try:
                parse_sha256(each)
            except InvalidDigestError as error:
                sound = False
                self._fault((*path, name), error.what, expected=error.expected, found=error.found, fix=error.fix)
        return sound

    def _handoff(self, path: Path, fields: dict[str, Any], name: str, root: str, handoffs: HandoffPaths) -> str | None:
        template = fields.get("handoff", DEFAULT_HANDOFF)
        if not isinstance(template, str):
            return None  # told already
        engine = str(fields.get("engine", "llamacpp"))
        if not _NAME.fullmatch(name) or not _ENGINE.fullmatch(engine):
            return None  # told already
        if (unknown := handoffs.unknown(template)) is not None:
            self._fault(
                path,
                f"unknown placeholder {{{unknown}}}",
                expected="{runtime_dir}, {name} and {engine}",
                found=short(template),
                fix="write one of these",
            )
            return None
        folder, last = handoffs.place(template, name, engine)
        handoff = os.path.join(folder, last)
        if not _is_inside(folder, self._surroundings.ask(root)):
            self._fault(
                path,
                "the handoff lies outside the project",
                expected=f"a path inside {root}",
                found=handoffs.written(template, name, engine),
                fix=f"write it into the project:   {HANDOFF_TO_ADD}",
            )
            return None
        if handoff == self._path or (folder == root and last in FILES_OF_DOIT) or os.path.isdir(handoff):
            self._fault(
                path,
                "the handoff can't be written there",
                expected="a file of its own",
                found=handoff,
                fix=f"choose another name:   {HANDOFF_TO_ADD}",
            )
            return None
        return handoff


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _is_inner_path(path: str) -> bool:
    return all(part not in ("", ".", "..") for part in path.split("/")) and "\n" not in path and "\\" not in path


_PATTERNS = {
    "models": (
        "not a name for a model",
        "a letter or digit, then letters, digits, dots, underscores and hyphens",
    ),
    "engine": (
        "not a name for an engine",
        "a small letter, then small letters, digits, underscores and hyphens",
    ),
}
_EXAMPLES = {"model_ref": '"file:models/tiny.gguf"', "models": "{}"}
_TYPES = {
    "string_type": ("a text", "write a text, in quotes if need be"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "dict_type": ("a mapping", "write names and values, indented"),
    "model_type": ("a mapping", "write names and values, indented"),
    "list_type": ("a list", "write [a, b] or one line '- a' for each"),
    "literal_error": ("", "write one of these"),
}


def _fields_around(model: Any, place: Path) -> list[str]:
    """Return the names that are known beside the last step of `place`."""
    if len(place) == 3 and place[0] == "models":
        return list(EntryForm.model_fields)
    parts: dict[str, Any] = {"network": Network, "cache": Cache}
    return list((parts.get(str(place[0]), model) if len(place) == 2 else model).model_fields)


def _is_inside(folder: str, root: str) -> bool:
    return f"{folder}/".startswith(root if root == "/" else f"{root}/")


def _nearest(place: str, models: Collection[str]) -> str:
    """Return the nearest of `models` that is `place` or a folder around it; the top of the disk where there is none."""
    while place not in models and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return place
