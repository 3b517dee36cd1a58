"""Where the files of a remote reference are: what kind of source it names, and which of its files are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.listing import Listing, Patterns, RemoteFile, name_of
from model_provisioner.invocation import command as called
from model_provisioner.references.reference import HubRef, ObjectRef, OciRef, OllamaRef, UrlRef, is_whole
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.fetchers.s3.bucket import Bucket
    from model_provisioner.fetchers.s3.xml import Listed
    from model_provisioner.references.reference import ModelRef


class Source(Protocol):
    """Knows where the files of one reference are."""

    def listing(self) -> Listing:
        """Ask what the reference resolves to now. Raises `FetchError` and `NotAllowedError`."""

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        """Say where files are whose names and revision are known; who is asked, is asked of these alone."""


def source_of(entry: Entry, check: Callable[[str], None], wait: Callable[[float, str], object]) -> Source:
    """Return the source of a remote entry; `check` is given each host before it is contacted.

    `wait` is what waits some seconds where a source is busy, and tells why.
    """
    ref, patterns = entry.ref, Patterns(entry.include, entry.exclude)
    if isinstance(ref, HubRef):
        from model_provisioner.fetchers.hub import Hub, endpoint, is_installed

        if ref.url is not None and not is_installed():
            return _Url(ref.url)
        check(urlsplit(endpoint()).hostname or "")  # a host that may not be asked needs no package that asks it
        return Hub(ref, check, patterns, wait)
    if isinstance(ref, ObjectRef):
        from model_provisioner.fetchers.s3.bucket import Bucket

        return _Objects(Bucket(ref.bucket, check, wait), ref, patterns)
    if isinstance(ref, OciRef | OllamaRef):
        from model_provisioner.fetchers.oci.artifact import Artifact

        return Artifact.of(ref, check, wait)
    assert isinstance(ref, UrlRef)  # a local one has no source
    return _Url(ref)


def hosts_of(ref: ModelRef) -> list[str]:
    """Return the hosts that are asked first for a remote reference. Raises as `source_of` does."""
    if isinstance(ref, HubRef):
        from model_provisioner.fetchers.hub import endpoint

        return [urlsplit(endpoint()).hostname or ""]
    if isinstance(ref, ObjectRef):
        from model_provisioner.fetchers.s3.bucket import Bucket

        hosts: list[str] = []
        Bucket(ref.bucket, hosts.append)
        return hosts
    if isinstance(ref, OciRef | OllamaRef):
        from model_provisioner.fetchers.oci.place import place_of

        return [place_of(ref).host]
    return [urlsplit(str(ref)).hostname or ""]


@dataclass(frozen=True)
class _Url:
    """A file on a web server, or the shards of a split, one beside the other. There is nothing to ask."""

    ref: UrlRef

    def listing(self) -> Listing:
        name = name_of(self.ref)
        return self.at(None, split_names(name) or [name])

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        if list(names) == [name_of(self.ref)]:
            return Listing(revision=revision, files=(RemoteFile(name=names[0], url=self.ref.url),))
        parts = urlsplit(self.ref.url)
        folder = parts.path.rpartition("/")[0]
        urls = {name: parts._replace(path=f"{folder}/{quote(name)}", fragment="").geturl() for name in names}
        return Listing(revision=revision, files=tuple(RemoteFile(name=name, url=url) for name, url in urls.items()))


@dataclass(frozen=True)
class _Objects:
    """An object of S3 storage, the shards of a split, or all objects under a prefix."""

    bucket: Bucket
    ref: ObjectRef
    patterns: Patterns

    def listing(self) -> Listing:
        if not is_whole(self.ref):
            name = name_of(self.ref)
            return self._heads(None, split_names(name) or [name])
        found = self._below()
        names = self.patterns.select(
            found,
            kind="object",
            place="under the prefix",
            where=self.ref.id,
            fix="compare the patterns with the keys; they are of what follows the prefix",
        )
        return Listing(revision=None, files=tuple(self.bucket.file(found[name], name) for name in sorted(names)))

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        if not is_whole(self.ref):
            return self._heads(revision, names)
        found = self._below()
        if gone := [name for name in names if name not in found]:
            more = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
            raise FetchError(
                "an object that was there when the prefix was locked or first fetched is gone",
                where=self.ref.id,
                expected=f"{gone[0]}{more}",
                found="no such key",
                fix="put it back; or, if it is not wanted any more, "
                f"`{called('lock --upgrade NAME')}` takes what is there now",
            )
        files = (self.bucket.file(found[name], name, ask=False) for name in names)  # their digests are known
        return Listing(revision=None, files=tuple(files))

    def _below(self) -> dict[str, Listed]:
        return {each.key.removeprefix(self.ref.key): each for each in self.bucket.below(self.ref.key)}

    def _heads(self, revision: str | None, names: Sequence[str]) -> Listing:
        folder = self.ref.key.removesuffix(name_of(self.ref))
        found = [self.bucket.head(folder + name, name, revision) for name in names]
        return Listing(
            revision=found[0][1] if len(found) == 1 else None,  # of several, each has its own
            files=tuple(file for file, _ in found),
        )
