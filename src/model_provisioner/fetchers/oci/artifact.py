"""The files of an artifact of a registry: a source like others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.listing import Listing
from model_provisioner.fetchers.oci.files import described, files_of, meant_by
from model_provisioner.fetchers.oci.manifest import read_manifest
from model_provisioner.fetchers.oci.place import place_of
from model_provisioner.fetchers.oci.registry import Registry
from model_provisioner.invocation import command as called
from model_provisioner.references.artifact_name import LATEST
from model_provisioner.references.reference import OciRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from model_provisioner.fetchers.oci.files import ArtifactFile
    from model_provisioner.references.reference import OllamaRef


@dataclass(frozen=True)
class Artifact:
    """What a reference names at its registry."""

    ref: OciRef | OllamaRef
    registry: Registry

    @classmethod
    def of(cls, ref: OciRef | OllamaRef, check: Callable[[str], None], wait: Callable[[float, str], object]) -> Self:
        """Return the artifact of a reference; `check` is given each host before it is contacted, that of the registry now.

        Raises what `check` raises, and `SettingError`.
        """
        place = place_of(ref)
        check(place.host)
        return cls(ref, Registry(place, HttpClient(check), wait))

    def listing(self) -> Listing:
        """Return the files that the reference means now; the revision is the digest of the manifest. Raises `FetchError`."""
        digest, files = self.files()
        meant = meant_by(files, self.ref, self._where)
        names = {file.name for file in meant}
        return self._listed(digest, meant, [file for file in files if file.name not in names])

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        """Return where files are of a manifest that is known by its digest."""
        if revision is None:
            return self.listing()
        files = {file.name: file for file in self._files_of(revision)}
        if missing := [name for name in names if name not in files]:
            raise FetchError(
                f"the artifact has no file {missing[0]}",
                where=f"{self._where}, {revision}",
                expected="the files that were locked or first fetched",
                found=described(list(files.values())),
                fix=f"`{called('lock --upgrade NAME')}` takes what is there now",
            )
        return self._listed(revision, [files[name] for name in names])

    def files(self) -> tuple[str, list[ArtifactFile]]:
        """Return the digest of the manifest that the reference names now, and all its files. Raises `FetchError`."""
        tag = self._tag
        found = self.registry.manifest(tag, self._where)
        if found is None:
            raise FetchError(
                f"{self.registry.place.registry} has no such artifact",
                where=self._where,
                expected=tag,
                found="no manifest of this tag or digest, or no such repository",
                fix="copy the reference from the registry's page",
            )
        return found[1], self._read(*found)

    @property
    def _tag(self) -> str:
        if isinstance(self.ref, OciRef):
            return self.ref.digest or self.ref.tag or LATEST
        return self.ref.tag

    @property
    def _where(self) -> str:
        return f"{self.ref.id} at {self.registry.place.host}"

    @property
    def _stem(self) -> str:
        """What a file of the artifact is called that has no name there."""
        last = self.registry.place.repository.rpartition("/")[2]
        tag = self.ref.tag
        return last if tag in {None, LATEST} else f"{last}-{tag}"

    def _files_of(self, digest: str) -> list[ArtifactFile]:
        found = self.registry.manifest(digest, self._where)
        if found is not None:
            return self._read(*found)
        now = None if self._tag == digest else self.registry.manifest(self._tag, self._where)
        raise FetchError(
            "the registry does not have the manifest any more that was locked or first fetched",
            where=self._where,
            expected=digest,
            found=f"{self._tag} is {now[1]} now" if now else "no manifest of this digest, or tag",
            fix=f"if the new one is right, `{called('lock --upgrade NAME')}` takes it"
            if now
            else "ask who runs the registry for it, or name another artifact",
        )

    def _read(self, data: bytes, digest: str) -> list[ArtifactFile]:
        return files_of(read_manifest(data, digest, self.registry.place, self._where), self._stem, self._where)

    def _listed(self, revision: str, files: Sequence[ArtifactFile], beside: Sequence[ArtifactFile] = ()) -> Listing:
        remote, others = (
            tuple(
                self.registry.file(file.sha256, file.name, file.size) for file in sorted(some, key=lambda it: it.name)
            )
            for some in (files, beside)
        )
        return Listing(revision=revision, files=remote, beside=others)
