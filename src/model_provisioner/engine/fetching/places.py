"""The places that a file is asked of, one after the other: the mirrors, where its digest is known, and then its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import ProvisionError, StorageError
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.mirrors import reader_of
from model_provisioner.fetchers.patience import MIRROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from model_provisioner.engine.fetching.wanted import Wanted
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.fetchers.mirrors import MirrorReader
    from model_provisioner.references.mirror import Mirror


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place that files are asked of."""

    client: HttpClient
    mirror: Mirror | None = None
    """None: the source."""
    reader: MirrorReader | None = None

    def find(self, wanted: Wanted) -> RemoteFile:
        """Return where a file is there. Raises as `MirrorReader.find` does."""
        if self.reader is None or wanted.sha256 is None:
            return wanted.file
        return self.reader.find(wanted.sha256, wanted.size, wanted.file.name)

    def named(self, wanted: Wanted) -> str:
        """Return who is asked here for a file, in words."""
        return wanted.host if self.mirror is None else f"the mirror {self.mirror}"


class Places:
    """The places of the files of one part of an entry. A context manager, which closes their connections."""

    def __init__(self, work: Workspace, check: Callable[[str], None], *, with_source: bool) -> None:
        """`check` is given each host before it is contacted; `with_source`: whether the source is asked in the end."""
        self._work = work
        self._near, self._source = HttpClient(check, MIRROR), HttpClient(check)
        self._mirrors = [place for mirror in work.mirrors.live if (place := self._place(mirror, check)) is not None]
        self._last = [Place(client=self._source)] if with_source else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, also those that other threads wait for."""
        self._near.close()
        self._source.close()

    def of(self, wanted: Wanted) -> Iterator[Place]:
        """Yield the places that a file is to be asked of, as long as the caller goes on."""
        for place in self._mirrors if wanted.by_digest else ():
            if place.mirror in self._work.mirrors.live:  # it may have been left out meanwhile
                yield place
        yield from self._last

    def first(self, wanted: Wanted) -> str:
        """Return the name of the place that is asked first for a file, for progress."""
        place = next(self.of(wanted), None)
        return wanted.host or "a mirror" if place is None or place.mirror is None else str(place.mirror)

    def failed(self, place: Place, wanted: Wanted, error: ProvisionError) -> None:
        """Take note of trouble at a mirror; trouble at the source is raised, and mentions that of the mirrors."""
        if isinstance(error, StorageError):  # ours
            raise error
        if place.mirror is not None:
            self._work.mirrors.note(place.mirror, error, self._work.progress)
            return
        if wanted.sha256 is not None:
            self._work.mirrors.mention_in(error)
        raise error

    def _place(self, mirror: Mirror, check: Callable[[str], None]) -> Place | None:
        try:
            return Place(client=self._near, mirror=mirror, reader=reader_of(mirror, self._near, check))
        except ProvisionError as error:
            self._work.mirrors.note(mirror, error, self._work.progress)
            return None
