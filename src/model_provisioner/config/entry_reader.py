"""The meaning of entries: from the fields of each to what it asks for."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from model_provisioner.config.companions import companion_forms
from model_provisioner.config.entries import Companion, Entry, label_of, shown_path
from model_provisioner.config.expected import parse_expected, parse_sha256, short
from model_provisioner.config.handoff_path import HandoffPaths
from model_provisioner.config.schema import DEFAULT_HANDOFF, ENGINE_PATTERN, NAME_PATTERN
from model_provisioner.config.signature import Claim
from model_provisioner.errors import InvalidDigestError, InvalidReferenceError
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef, ObjectRef

if TYPE_CHECKING:
    from collections.abc import Collection

    from model_provisioner.config.companions import Form
    from model_provisioner.config.document import Document
    from model_provisioner.config.faults import Faults
    from model_provisioner.config.source_map import Path
    from model_provisioner.references.digest import Expected
    from model_provisioner.references.path_environment import Surroundings

    Found = tuple[Path, str, dict[str, Any], Expected | None, list[Form]]
    """An entry of the file: its place, name and fields, what its `expected_digest` means, and its companions."""

FILES_OF_DOIT = ("dodo.py", "pyproject.toml", "doit.cfg")
_NAME, _ENGINE = re.compile(NAME_PATTERN), re.compile(ENGINE_PATTERN)
HANDOFF_TO_ADD = 'handoff: "{runtime_dir}/engines/{name}.json"'


class EntryReader:
    """Makes the entries of the configuration at `path`, and notes their faults."""

    def __init__(self, document: Document, path: str, faults: Faults, surroundings: Surroundings) -> None:
        self._document, self._path, self._faults, self._surroundings = document, path, faults, surroundings

    def entries(self, found: list[Found], root: str, runtime_dir: str) -> dict[str, Entry]:
        """Return the entries by name; those with a fault may be missing."""
        entries: dict[str, Entry] = {}
        writers: dict[str, Entry] = {}
        handoffs = HandoffPaths(root, runtime_dir, self._surroundings)
        for path, name, fields, expected, forms in found:
            ref = self._reference((*path, "model_ref"), fields.get("model_ref"), root)
            engine = fields.get("engine", "llamacpp")
            handoff = self._handoff((*path, "handoff"), fields, name, root, handoffs)
            companions = self._companions(forms, root)
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
                include=texts(fields.get("include")),
                exclude=texts(fields.get("exclude")),
                companions=companions,
                keep=fields.get("keep") is True,
                signature=self._signature((*path, "signature"), fields.get("signature"), root),
            )
            self._check_companions(forms, entry)
            self._check_patterns(path, entry)
            if (other := writers.setdefault(handoff, entry)) is not entry:
                self._faults.note(
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
        models = {
            part.ref.path: f"{part.label} of {part.name}" if part.label else f"model {part.name}"
            for entry in entries.values()
            for part in entry.parts
            if isinstance(part.ref, LocalRef)
        }
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
            self._faults.note(
                ("handoff",) if self._document.data.get("models") is None else ("models", writer.name, "handoff"),
                f"the handoff of {writer.name} would take the place of the {model}"
                if place == writer.handoff
                else f"the handoff of {writer.name} would lie in the folder of the {model}",
                expected="a file of its own",
                found=shown_path(writer.handoff),
                fix=f"choose another name:   {HANDOFF_TO_ADD}",
            )

    def _check_patterns(self, path: Path, entry: Entry) -> None:
        ref = entry.ref
        whole = (isinstance(ref, HubRef) and ref.path is None) or (isinstance(ref, ObjectRef) and ref.key.endswith("/"))
        for name, patterns in (("include", entry.include), ("exclude", entry.exclude)):
            if patterns and not whole:
                self._faults.note(
                    (*path, name),
                    f"{name} says which files of many are taken, and {entry.name} is not a whole repository or prefix",
                    expected="hf:ORG/REPO or s3://BUCKET/PREFIX/",
                    found=ref.id,
                    fix=f"remove {name}, or name the repository",
                )

    def _signature(self, path: Path, value: Any, root: str) -> Claim | None:
        if not isinstance(value, dict) or not isinstance(value.get("bundle"), str):
            return None  # told already
        fields = {name: value.get(name) for name in ("bundle", "public_key", "identity", "issuer")}
        given = {name: text for name, text in fields.items() if isinstance(text, str)}
        if given.keys() not in ({"bundle", "public_key"}, {"bundle", "identity", "issuer"}):
            self._faults.note(
                path,
                "a signature is by a key, or by an identity that an issuer vouched for",
                expected="public_key, or identity and issuer",
                found=" and ".join(sorted(given.keys() - {"bundle"})) or "neither",
                fix='write   signature: {bundle: "model.sig", public_key: "publisher.pub"}',
            )
            return None
        for name in ("bundle", "public_key"):
            if name in given:
                given[name] = self._surroundings.absolute(given[name], root)
        return Claim(**given)

    def _reference(self, path: Path, text: Any, root: str) -> ModelRef | None:
        if not isinstance(text, str):
            return None  # told already
        try:
            ref = ModelRef.parse(text)
            if not isinstance(ref, LocalRef):
                return ref
            return ref.absolute(root, self._surroundings)
        except InvalidReferenceError as error:
            self._faults.note(path, error.what, expected=error.expected, found=error.found, fix=error.fix)
            return None

    def companion_forms(self, base: Path, fields: dict[str, Any]) -> list[Form]:
        """Return the companions of an entry or of the defaults as they are written, or note their faults."""
        return companion_forms(base, fields, self._faults.note, self.expected)

    def _companions(self, forms: list[Form], root: str) -> tuple[Companion, ...]:
        found = ((form, self._reference(form.place, form.ref, root)) for form in forms)
        return tuple(
            Companion(role=form.role, ref=ref, expected=form.expected) for form, ref in found if ref is not None
        )

    def _check_companions(self, forms: list[Form], entry: Entry) -> None:
        """Note what is named twice: an engine would load it twice, or as what it is not."""
        if len(forms) != len(entry.companions):
            return  # told already
        seen = {entry.ref: "its model_ref"}
        for form, each in zip(forms, entry.companions, strict=True):
            if each.ref in seen:
                self._faults.note(
                    form.place,
                    f"{entry.name} names one file twice",
                    expected="another file for each field",
                    found=f"{each.ref.id}, which is {seen[each.ref]}",
                    fix="remove one of them",
                )
            seen.setdefault(each.ref, f"{label_of(each.role, each.ref.id)} already")

    def expected(self, base: Path, fields: dict[str, Any]) -> Expected | None:
        """Return what the expected digest of an entry or of the defaults means, or note its faults."""
        if (value := fields.get("expected_digest")) is None:
            return None
        path = (*base, "expected_digest")
        if isinstance(value, dict) and not (value.keys() <= {"algo", "value"}) and not self._is_set(path, value):
            return None
        try:
            return parse_expected(value)
        except InvalidDigestError as error:
            self._faults.note(path, error.what, expected=error.expected, found=error.found, fix=error.fix)
            return None

    def _is_set(self, path: Path, files: dict[str, Any]) -> bool:
        """Tell whether these are files and their digests, or note where they are not."""
        sound = True
        for name, each in files.items():
            if not _is_inner_path(name):
                sound = False
                self._faults.note(
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
                self._faults.note((*path, name), error.what, expected=error.expected, found=error.found, fix=error.fix)
        return sound

    def _handoff(self, path: Path, fields: dict[str, Any], name: str, root: str, handoffs: HandoffPaths) -> str | None:
        template = fields.get("handoff", DEFAULT_HANDOFF)
        if not isinstance(template, str):
            return None  # told already
        engine = str(fields.get("engine", "llamacpp"))
        if not _NAME.fullmatch(name) or not _ENGINE.fullmatch(engine):
            return None  # told already
        if (unknown := handoffs.unknown(template)) is not None:
            self._faults.note(
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
            self._faults.note(
                path,
                "the handoff lies outside the project",
                expected=f"a path inside {root}",
                found=handoffs.written(template, name, engine),
                fix=f"write it into the project:   {HANDOFF_TO_ADD}",
            )
            return None
        if handoff == self._path or (folder == root and last in FILES_OF_DOIT) or os.path.isdir(handoff):
            self._faults.note(
                path,
                "the handoff can't be written there",
                expected="a file of its own",
                found=handoff,
                fix=f"choose another name:   {HANDOFF_TO_ADD}",
            )
            return None
        return handoff


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list; what else is in it was told already."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _is_inner_path(path: str) -> bool:
    return all(part not in ("", ".", "..") for part in path.split("/")) and "\n" not in path and "\\" not in path


def _is_inside(folder: str, root: str) -> bool:
    return f"{folder}/".startswith(root if root == "/" else f"{root}/")


def _nearest(place: str, models: Collection[str]) -> str:
    """Return the nearest of `models` that is `place` or a folder around it; the top of the disk where there is none."""
    while place not in models and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return place
