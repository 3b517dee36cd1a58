"""From a document to a configuration: pydantic makes the values, their paths are resolved, one error has every fault."""

from __future__ import annotations

import difflib
import os
import re
import sys
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from model_provisioner.config import schema
from model_provisioner.config.entries import Claim, Companion, Config, Entry, label_of
from model_provisioner.config.faults import MAX_FAULTS, Faults, short, shown
from model_provisioner.config.lockfile import LOCK_NAME
from model_provisioner.config.paths import (
    DEFAULT_RUNTIME_DIR,
    DIGESTS,
    PROVENANCE,
    HandoffPaths,
    is_below,
    path_in,
    shown_path,
)
from model_provisioner.errors import InvalidReferenceError, StorageError
from model_provisioner.fs.paths import NAME_BYTES
from model_provisioner.fs.state_folder import state_folder
from model_provisioner.references.file_names import UTF8_FIX, is_beyond_locale
from model_provisioner.references.path_environment import HERE, PathEnvironment
from model_provisioner.references.reference import LocalRef, ModelRef, is_whole

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.document import Document
    from model_provisioner.config.source_map import Path

Model = TypeVar("Model", bound=BaseModel)

FILES_OF_THE_PROJECT = ("models.yaml", "dodo.py", "pyproject.toml", "doit.cfg", LOCK_NAME)
"""Names by which other files are found, here or in a folder above: no handoff may have one."""
HANDOFF_TO_ADD = 'handoff: "{runtime_dir}/engines/{name}.json"'
_NAME = re.compile(schema.NAME_PATTERN)
_ANY_ENTRY = schema.Entry.model_construct()
_STAND_INS: dict[str, Any] = {"model_ref": ".", "models": {}}
"""For a required field that has a fault, so that the other fields are made."""


class _Written(NamedTuple):
    """An entry as the file has it, with the defaults filled in."""

    path: Path
    name: str
    values: schema.Entry
    wrong: set[str]
    """The fields that have a fault, and `name` where the name has: what `values` has for them was not written."""


class ConfigReader:
    """Makes the configuration of one document, and gathers its faults."""

    def __init__(self, document: Document, path: str, cache_dir: str | None, runtime_dir: str | None = None) -> None:
        """Take the document at `path`, and the folders of the user that win over those in it."""
        self._document, self._path, self._cache_dir, self._runtime_dir = document, path, cache_dir, runtime_dir
        self._faults = Faults(document.name, document.source_map, document.faults)
        self._environment = PathEnvironment()
        self._taken: dict[str, str] = {}
        """The folders in which other files of ours lie, and those below or above them that were asked about; else nothing."""

    def read(self) -> Config:
        """Return the configuration, or raise all faults at once."""
        data, environment = self._top(), self._environment
        several = "models" in data
        settings, written = self._several(data) if several else self._single(data)
        root = environment.ask(os.path.dirname(self._path) if several else HERE)
        runtime_dir, cache_dir = self._runtime(settings, root), self._cache(settings, root)
        self._taken = {
            os.path.realpath(cache_dir): "the store",
            os.path.join(runtime_dir, DIGESTS): "the folder of the checksum files",
            os.path.join(runtime_dir, PROVENANCE): "the folder of the log of verifications",
        }
        with suppress(StorageError):  # who needs it is told
            self._taken[os.path.realpath(state_folder())] = "the state folder"
        handoffs = HandoffPaths(root, runtime_dir, environment)
        made = ((each.name, self._entry(each, root, handoffs)) for each in written)
        entries = {name: entry for name, entry in made if entry is not None}
        self._check_handoffs(entries)
        self._faults.check()
        return Config(
            path=self._path,
            root=root,
            cache_dir=cache_dir,
            runtime_dir=runtime_dir,
            allow=tuple(settings.network.allow),
            recheck=settings.recheck,
            mirrors=tuple(settings.mirrors),
            entries=MappingProxyType(entries),
            answers=tuple(environment.answers.items()),
            handoffs=tuple(entry.handoff for entry in entries.values()),
            max_size=settings.cache.max_size,
            remote=tuple(name for name, entry in entries.items() if not entry.is_local),
        )

    # ---- the folders

    def _runtime(self, settings: schema.Settings, root: str) -> str:
        """Return the folder for what a run writes: the user's own without links, or the project's, which lies in it."""
        environment = self._environment
        if self._runtime_dir:
            return environment.ask(environment.absolute(self._runtime_dir, environment.ask(HERE)))
        asked = environment.absolute(settings.runtime_dir, root)
        found = path_in(root, asked, environment)
        if found is None:
            self._faults.note(
                ("runtime_dir",),
                "runtime_dir lies outside the project",
                expected=f"a path inside {root}",
                found=asked,
                fix="name a folder in the project; a place of your own is for MODEL_PROVISIONER_RUNTIME_DIR to name",
            )
            found = os.path.join(root, DEFAULT_RUNTIME_DIR)
        environment.ask(found)  # as of the folder of a handoff
        return found

    def _cache(self, settings: schema.Settings, root: str) -> str:
        """Return the folder of the store: without links if it lies in the project and is not named from there."""
        environment = self._environment
        if self._cache_dir:
            path, is_named_from_here = environment.absolute(self._cache_dir, environment.ask(HERE)), False
        else:
            path = environment.absolute(settings.cache_dir, root)
            is_named_from_here = not settings.cache_dir.startswith(("/", "~"))
        return path if is_named_from_here or not is_below(path, root) else environment.ask(path)

    # ---- the form of the file

    def _top(self) -> dict[str, Any]:
        """Return the data of a file that has one of its two forms."""
        data = self._document.data
        if not isinstance(data, dict) or not ({"models", "model_ref"} & data.keys()):
            fix = 'write   models: {tiny: {model_ref: "file:models/tiny.gguf"}}'
            for name in list(data)[:MAX_FAULTS] if isinstance(data, dict) else ():
                if near := difflib.get_close_matches(name, ("models", "model_ref"), n=1):
                    fix = f"write {near[0]} in the place of {shown(name)}"
            self._faults.note(
                (),
                "the file is empty" if data is None else "the file names no model",
                expected="a mapping with models: (several models, by name) or model_ref: (one)",
                found="nothing" if data is None else short(data),
                fix=fix,
            )
            self._faults.check()
        if "models" in data and "model_ref" in data:
            self._faults.note(
                ("model_ref",),
                "one model at the top level and several under models: are two forms of the file",
                expected="model_ref: at the top level, or models:",
                found="both",
                fix="move the fields of the one model under models:, by a name of its own",
            )
            self._faults.check()
        return dict(data)

    def _single(self, data: dict[str, Any]) -> tuple[schema.Settings, list[_Written]]:
        values, wrong = self._validated(schema.Single, data, ())
        assert values is not None  # it is a mapping
        return values, [_Written((), values.engine, values, wrong)]

    def _several(self, data: dict[str, Any]) -> tuple[schema.Settings, list[_Written]]:
        shared, models = data.get("defaults"), data["models"]
        _, wrong = (None, set[str]()) if shared is None else self._validated(schema.Defaults, shared, ("defaults",))
        bad = wrong & schema.Defaults.model_fields.keys()  # the names that are none are no field of an entry either
        defaults = (
            {name: each for name, each in shared.items() if name not in wrong} if isinstance(shared, dict) else {}
        )
        defaults |= {name: _STAND_INS[name] for name in bad & _STAND_INS.keys()}
        written = []
        for name, each in models.items() if isinstance(models, dict) else ():
            is_mapping = isinstance(each, dict)
            fields = {**defaults, **each} if defaults and is_mapping else each
            values, wrong = self._validated(schema.Entry, fields, ("models", name))
            if bad and is_mapping:
                wrong |= bad - each.keys()  # reported once, for the defaults
            if not _NAME.fullmatch(name):
                wrong.add("name")
            if values is not None:
                written.append(_Written(("models", name), name, values, wrong))
        # The entries are made: what is left are their names, and the fields beside them.
        if isinstance(models, dict):
            models = dict.fromkeys(models, _ANY_ENTRY)
        project, _ = self._validated(schema.Project, {**data, "models": models, "defaults": None}, ())
        assert project is not None  # it is a mapping
        return project, written

    def _validated(self, model: type[Model], data: Any, base: Path) -> tuple[Model | None, set[str]]:
        """Return what pydantic makes of data at `base`, and which of its fields have a fault; these are noted.

        Fields with a fault are left out and the others are made, so that one run also finds what is wrong between them.
        """
        try:
            return model.model_validate(data), set()
        except ValidationError as error:
            found = error.errors(include_url=False)
        for each in schema.without_echoes(found[: MAX_FAULTS + 1]):
            self._faults.note_error(*schema.worded(each, model, base))
        wrong = {str(step) for each in found for step in each["loc"][:1]}
        if not isinstance(data, dict):
            return None, wrong
        stand_ins = {name: each for name, each in _STAND_INS.items() if name in model.model_fields}
        sound = {name: each for name, each in data.items() if name not in wrong}
        return model.model_validate(stand_ins | sound), wrong

    # ---- what the entries mean

    def _entry(self, written: _Written, root: str, handoffs: HandoffPaths) -> Entry | None:
        """Return an entry with its paths resolved; None where its reference or its handoff has a fault."""
        path, values, wrong = written.path, written.values, written.wrong
        ref = None if "model_ref" in wrong else self._absolute((*path, "model_ref"), values.model_ref, root)
        handoff = None if wrong & {"name", "engine", "handoff"} else self._handoff(written, root, handoffs)
        beside = [
            (place, Companion(role=str(place[0]), ref=found, expected=each.expected_digest))
            for place, each in values.companions()
            if (found := self._absolute((*path, *place), each.model_ref, root)) is not None
        ]
        if ref is None or handoff is None or not self._has_names(written, handoff):
            return None
        entry = Entry(
            name=written.name,
            ref=ref,
            expected=values.expected_digest,
            strict=values.strict_verification,
            engine=values.engine,
            handoff=handoff,
            line=self._document.source_map.line(path),
            include=tuple(values.include or ()),
            exclude=tuple(values.exclude or ()),
            companions=tuple(each for _, each in beside),
            keep=values.keep,
            signature=None if values.signature is None else self._claim(values.signature, root),
        )
        if beside:
            self._check_companions(entry, [(*path, *place) for place, _ in beside])
        for name in ("include", "exclude") if not is_whole(ref) else ():
            if getattr(entry, name):
                self._faults.note(
                    (*path, name),
                    f"{name} says which files of many are taken, and {entry.name} is not a whole repository or prefix",
                    expected="hf:ORG/REPO or s3://BUCKET/PREFIX/",
                    found=ref.id,
                    fix=f"remove {name}, or name the repository",
                )
        return entry

    def _has_names(self, written: _Written, handoff: str) -> bool:
        """Tell whether there can be files of the names that are made for an entry; note a fault where not."""
        place = (*written.path, "handoff")
        if is_beyond_locale(handoff):
            self._faults.note(
                place,
                "the locale has no bytes for this name",
                expected=f"characters that {sys.getfilesystemencoding()} has",
                found=short(handoff),
                fix=UTF8_FIX,
            )
            return False
        checksum_file = f"{written.name}.sha256"
        longest = max((checksum_file, *handoff.split("/")), key=lambda name: len(os.fsencode(name)))
        if (size := len(os.fsencode(longest))) <= NAME_BYTES:
            return True
        is_its_name = longest == checksum_file or "{name}" in written.values.handoff
        self._faults.note(
            written.path if is_its_name else place,
            f"the name of the {'checksum file' if longest == checksum_file else 'handoff'} would be too long",
            expected=f"at most {NAME_BYTES} bytes",
            found=f"{size} bytes: {short(longest)}",
            fix="give the entry a shorter name" if is_its_name else "shorten the path of the handoff",
        )
        return False

    def _absolute(self, path: Path, ref: ModelRef, root: str) -> ModelRef | None:
        if not isinstance(ref, LocalRef):
            return ref
        try:
            return ref.absolute(root, self._environment)
        except InvalidReferenceError as error:
            self._faults.note_error(path, error)
            return None

    def _claim(self, written: schema.Signature, root: str) -> Claim:
        fields = {name: value for name, value in written if value is not None}
        paths = {name: fields[name] for name in ("bundle", "public_key") if name in fields}
        return Claim(**fields | {name: self._environment.absolute(path, root) for name, path in paths.items()})

    def _check_companions(self, entry: Entry, places: list[Path]) -> None:
        """Note what is named twice: an engine would load it twice, or as what it is not."""
        roles = {entry.ref: "model"}
        for place, each in zip(places, entry.companions, strict=True):
            if (role := roles.get(each.ref)) is None:
                roles[each.ref] = each.role
                continue
            other = "its model_ref" if role == "model" else f"{label_of(role, each.ref.id)} already"
            self._faults.note(
                place,
                f"{entry.name} names one file twice",
                expected="another file for each field",
                found=f"{each.ref.id}, which is {other}",
                fix="remove one of them",
            )

    # ---- handoffs

    def _handoff(self, written: _Written, root: str, handoffs: HandoffPaths) -> str | None:
        path, asked = (*written.path, "handoff"), (written.values.handoff, written.name, written.values.engine)
        folder, last = handoffs.place(*asked)
        handoff = os.path.join(folder, last)
        if not handoffs.is_inside(folder):
            what, expected, found = (
                "the handoff lies outside the project",
                " or ".join(f"a path inside {top}" for top in handoffs.tops),
                handoffs.written(*asked),
            )
            fix = "write it into the project"
        elif handoff == self._path or last in FILES_OF_THE_PROJECT or os.path.isdir(handoff):
            what, expected, found = "the handoff can't be written there", "a file of its own", handoff
            fix = "choose another name"
        elif ours := self._folder_of_ours(folder):
            what, expected = "the handoff can't be written there", "a file of its own"
            found, fix = f"{handoff}, in {ours}", "choose another folder"
        else:
            return handoff
        self._faults.note(path, what, expected=expected, found=found, fix=f"{fix}:   {HANDOFF_TO_ADD}")
        return None

    def _folder_of_ours(self, folder: str) -> str:
        """Return in which folder of ours for other files a folder lies; nothing where it lies in none."""
        if folder not in self._taken:
            above = os.path.dirname(folder)
            self._taken[folder] = "" if above == folder else self._folder_of_ours(above)
        return self._taken[folder]

    def _check_handoffs(self, entries: dict[str, Entry]) -> None:
        """Note the handoffs that two entries would write, and those that would replace a model, a key or a bundle."""
        models: dict[str, tuple[Entry, Entry | Companion]] = {}
        for entry in entries.values():
            parts: tuple[Entry | Companion, ...] = (entry, *entry.companions)
            for each in parts:
                if isinstance(each.ref, LocalRef):
                    models[each.ref.path] = entry, each
        signatures = {
            file: each.name for each in entries.values() if each.signature is not None for file in each.signature.files
        }
        writers: dict[str, Entry] = {}
        above: dict[str, str] = {}
        for entry in entries.values():
            handoff, path = entry.handoff, ("models", entry.name) if "models" in self._document.data else ()
            if (other := writers.setdefault(handoff, entry)) is not entry:
                lines = f"for {other.name} (line {other.line}) and {entry.name} (line {entry.line})"
                self._faults.note(
                    path,
                    f"{other.name} and {entry.name} would write one handoff",
                    expected="a handoff of its own for each model",
                    found=f"{shown_path(handoff)}, {lines}",
                    fix=f"add to one of them, or to defaults:   {HANDOFF_TO_ADD}",
                )
            if handoff in signatures:
                self._faults.note(
                    (*path, "handoff"),
                    f"the handoff of {entry.name} would take the place of a signature or key of {signatures[handoff]}",
                    expected="a file of its own",
                    found=shown_path(handoff),
                    fix=f"choose another name:   {HANDOFF_TO_ADD}",
                )
            place = handoff
            if place not in models:
                folder = place.rpartition("/")[0] or "/"
                if folder not in above:
                    above[folder] = _nearest(folder, models)
                place = above[folder]
            if place in models:
                owner, part = models[place]
                model = f"model {owner.name}" if part is owner else f"{label_of(part.role, place)} of {owner.name}"
                would = "take the place" if place == handoff else "lie in the folder"
                self._faults.note(
                    (*path, "handoff"),
                    f"the handoff of {entry.name} would {would} of the {model}",
                    expected="a file of its own",
                    found=shown_path(handoff),
                    fix=f"choose another name:   {HANDOFF_TO_ADD}",
                )


def _nearest(place: str, models: Collection[str]) -> str:
    """Return the nearest of `models` that is `place` or a folder around it; the top of the disk where there is none."""
    while place not in models and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return place
