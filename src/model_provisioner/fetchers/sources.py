"""Where the files of a remote reference are: what kind of source it names, and which of its files are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.listing import Listing, RemoteFile
from model_provisioner.references.reference import HubRef, ObjectRef, UrlRef, is_whole
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.fetchers.hub import Hub
    from model_provisioner.fetchers.s3.bucket import Bucket
    from model_provisioner.fetchers.s3.xml import Listed
    from model_provisioner.references.reference import ModelRef


class Source(Protocol):
    """Knows where the files of one reference are."""

    def listing(self) -> Listing:
        """Ask what the reference stands for now. Raises `FetchError` and `NotAllowedError`."""

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        """Say where files are whose names and revision are known; who is asked, is asked of these alone."""


def source_of(entry: Entry, check: Callable[[str], None]) -> Source:
    """Return the source of a remote entry; `check` is given each host before it is contacted."""
    ref = entry.ref
    if isinstance(ref, HubRef):
        from model_provisioner.fetchers.hub import Hub, endpoint

        check(urlsplit(endpoint()).hostname or "")  # a host that may not be asked needs no package that asks it
        return _OnHub(Hub(check), ref, entry.include, entry.exclude)
    if isinstance(ref, UrlRef):
        return _ByUrl(ref.url)
    assert isinstance(ref, ObjectRef)  # a local one has no source
    from model_provisioner.fetchers.s3.bucket import Bucket

    return _InBucket(Bucket(ref.bucket, check), ref, entry.include, entry.exclude)


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
        if self.ref.path is not None:
            return found
        names = _asked([file.name for file in found.files], self.include, self.exclude)
        if not names:
            raise FetchError(
                "no file of the repository matches include and exclude",
                where=self.ref.id,
                expected=f"one of {len(found.files)} files",
                found=f"include: {list(self.include)}, exclude: {list(self.exclude)}",
                fix="compare the patterns with the list of files on the repository's page",
            )
        return replace(found, files=tuple(file for file in found.files if file.name in names))

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        return self.hub.at(self.ref, revision or "main", names)


@dataclass(frozen=True)
class _InBucket:
    bucket: Bucket
    ref: ObjectRef
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def listing(self) -> Listing:
        if not is_whole(self.ref):
            name = name_of(self.ref)
            return self._objects(None, split_names(name) or [name])
        found = self._below()
        names = _asked(found, self.include, self.exclude)
        if not names:
            raise FetchError(
                "no object under the prefix matches include and exclude",
                where=self.ref.id,
                expected=f"one of {len(found):,} objects",
                found=f"include: {list(self.include)}, exclude: {list(self.exclude)}",
                fix="compare the patterns with the keys; they are of what follows the prefix",
            )
        return self._files(found, sorted(names), ask=True)

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        if not is_whole(self.ref):
            return self._objects(revision, names)
        found = self._below()
        if gone := [name for name in names if name not in found]:
            raise _gone(gone, self.ref.id)
        return self._files(found, names, ask=False)  # their digests are known

    def _below(self) -> dict[str, Listed]:
        return {each.key.removeprefix(self.ref.key): each for each in self.bucket.below(self.ref.key)}

    def _files(self, found: Mapping[str, Listed], names: Sequence[str], *, ask: bool) -> Listing:
        return Listing(revision=None, files=tuple(self.bucket.file(found[name], name, ask=ask) for name in names))

    def _objects(self, revision: str | None, names: Sequence[str]) -> Listing:
        folder = self.ref.key.removesuffix(name_of(self.ref))
        found = [self.bucket.head(folder + name, name, revision) for name in names]
        return Listing(
            revision=found[0][1] if len(found) == 1 else None,  # of several, each has its own
            files=tuple(file for file, _ in found),
        )


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


def _asked(names: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    """Return those of the names that the patterns of an entry leave."""
    return {
        name
        for name in names
        if (not include or any(fnmatchcase(name, pattern) for pattern in include))
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }


def _gone(names: Sequence[str], where: str) -> FetchError:
    """Return the error for objects that a lock names and a listing does not."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return FetchError(
        "an object that was there when the prefix was locked or first fetched is gone",
        where=where,
        expected=f"{names[0]}{more}",
        found="no such key",
        fix="put it back; or, if it is not wanted any more, `doit model-lock --upgrade NAME` takes what is there now",
    )
