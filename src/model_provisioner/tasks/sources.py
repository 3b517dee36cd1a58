"""Where the files of a remote reference are: what kind of source it names, and which of its files are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit

from model_provisioner.errors import FetchError
from model_provisioner.models.reference import HubRef, ObjectRef, UrlRef
from model_provisioner.models.remote import Listing, RemoteFile
from model_provisioner.models.split import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.fetchers.hub import Hub
    from model_provisioner.models.config import Entry
    from model_provisioner.models.reference import ModelRef


class Source(Protocol):
    """Knows where the files of one reference are."""

    def listing(self) -> Listing:
        """Ask what the reference stands for now. Raises `FetchError` and `NotAllowedError`."""

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        """Say where files are whose names and revision are known; nobody is asked."""


def source_of(entry: Entry, check: Callable[[str], None]) -> Source:
    """Return the source of a remote entry; `check` is given each host before it is contacted."""
    ref = entry.ref
    if isinstance(ref, HubRef):
        from model_provisioner.fetchers.hub import Hub, endpoint

        check(urlsplit(endpoint()).hostname or "")  # a host that may not be asked needs no package that asks it
        return _OnHub(Hub(check), ref, entry.include, entry.exclude)
    if isinstance(ref, UrlRef):
        return _ByUrl(ref.url)
    raise FetchError(
        "this version of model-provisioner does not fetch s3: references",
        found=ref.id,
        fix="download the model and point model_ref at the file",
    )


def name_of(ref: ModelRef) -> str:
    """Return the name of the file that a remote reference of one file, or of a split, names."""
    if isinstance(ref, HubRef):
        return (ref.path or "").rpartition("/")[2]
    if isinstance(ref, ObjectRef):
        return ref.key.rpartition("/")[2]
    return unquote(urlsplit(ref.id).path.rpartition("/")[2])


@dataclass(frozen=True)
class _OnHub:
    hub: Hub
    ref: HubRef
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def listing(self) -> Listing:
        found = self.hub.listing(self.ref)
        files = tuple(file for file in found.files if self._is_asked(file.name))
        if not files:
            raise FetchError(
                "no file of the repository matches include and exclude",
                where=self.ref.id,
                expected=f"one of {len(found.files)} files",
                found=f"include: {list(self.include)}, exclude: {list(self.exclude)}",
                fix="compare the patterns with the list of files on the repository's page",
            )
        return replace(found, files=files)

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        return self.hub.at(self.ref, revision or "main", names)

    def _is_asked(self, name: str) -> bool:
        if self.ref.path is not None:
            return True
        included = not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in self.exclude)


@dataclass(frozen=True)
class _ByUrl:
    url: str

    def listing(self) -> Listing:
        name = unquote(urlsplit(self.url).path.rpartition("/")[2])
        return self.at(None, split_names(name) or [name])

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        parts = urlsplit(self.url)
        folder = parts.path.rpartition("/")[0]
        same = [unquote(parts.path.rpartition("/")[2])] == list(names)
        return Listing(
            revision=revision,
            files=tuple(
                RemoteFile(
                    name=name,
                    url=self.url if same else parts._replace(path=f"{folder}/{quote(name)}", fragment="").geturl(),
                )
                for name in names
            ),
        )
