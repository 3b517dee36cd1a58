"""Records: what each reference resolved to when it was fetched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import UnsoundModelError
from model_provisioner.json_text import parse_json
from model_provisioner.store.layout import Layout, blob_place
from model_provisioner.store.tree import check_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_FOLDER = "refs"
_UNSOUND = (ValueError, TypeError, KeyError, UnsoundModelError)


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a model as it was fetched."""

    name: str
    """Its path in the set, parts separated by `/`."""
    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a reference resolved to when it was fetched."""

    ref: str
    """The reference as a text without credentials."""
    revision: str | None
    """The commit, where its source has any."""
    files: tuple[StoredFile, ...]
    tree: str
    """The absolute path that an engine is to open: what `Store.make_tree` returned."""
    wrong: bool = False
    """Whether it turned out to be no model, or not of the kind that was asked for: then the next fetch asks the source."""


class Refs(Layout):
    """The records of a store."""

    def record(self, record: Record) -> None:
        """Keep what a reference resolves to. Raises `StorageError`."""
        body = {
            "ref": record.ref,
            "revision": record.revision,
            "files": [asdict(each) for each in record.files],
            "tree": os.path.relpath(record.tree, self.root),
            "wrong": record.wrong,
        }
        data = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self.write(_FOLDER, _name(record.ref), data)

    def note_wrong(self, ref: str, found: Collection[str]) -> None:
        """Note that what `ref` resolves to is wrong if it still is files of the SHA-256 `found`. Raises `StorageError`."""
        record = self.recorded(ref)
        if record is not None and {file.sha256 for file in record.files} == set(found):
            self.record(replace(record, wrong=True))

    def recorded(self, ref: str) -> Record | None:
        """Return what `ref` resolved to when it was last fetched; None where no sound record says so."""
        record = self._read(_name(ref))
        return record if record is not None and record.ref == ref else None

    def records(self) -> Iterator[Record]:
        """Yield what every reference resolves to; what is no sound record is left out."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in self.held(_FOLDER).names():
                if (record := self._read(name)) is not None:
                    yield record

    def _read(self, name: str) -> Record | None:
        try:
            return self._parsed(parse_json(self.held(_FOLDER).read(name) or b""))
        except (OSError, *_UNSOUND):
            return None

    def _parsed(self, body: dict[str, Any]) -> Record:
        files = tuple(
            StoredFile(name=_text(each["name"]), size=_count(each["size"]), sha256=_text(each["sha256"]))
            for each in body["files"]
        )
        for each in files:
            blob_place(each.sha256)
        ref, tree, revision = _text(body["ref"]), _text(body["tree"]), _text_or_none(body["revision"])
        check_names([each.name for each in files], ref)
        check_names([tree], ref)
        if not tree.startswith("trees/"):
            raise ValueError("a record of something else")
        place = os.path.join(self.root, tree)
        return Record(ref=ref, revision=revision, files=files, tree=place, wrong=body.get("wrong") is True)


def _name(ref: str) -> str:
    return f"{hashlib.sha256(os.fsencode(ref)).hexdigest()}.json"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("not a number of bytes")
    return value
