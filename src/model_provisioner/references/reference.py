"""References: what a model is asked for by. Values only: parsing reads no file and asks no network.

The forms, their ids and the rules for paths stand in `docs/reference/references.md`.
"""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

from model_provisioner.arguments import check_type, path_text
from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.artifact_name import (
    LATEST,
    ArtifactName,
    OllamaName,
    check_artifact_name,
    check_ollama_name,
    read_artifact_name,
    read_ollama_name,
)
from model_provisioner.references.file_names import UTF8_FIX, is_beyond_locale, is_file_name, path_of_file_url
from model_provisioner.references.hub_name import check_hub_name, checked_quantization, read_hub_name
from model_provisioner.references.hub_url import meaning
from model_provisioner.references.object_name import check_object, read_object_name
from model_provisioner.references.path_environment import PathEnvironment
from model_provisioner.references.shards import check_first_shard, split_names
from model_provisioner.references.shown import CREDENTIALS, shown
from model_provisioner.references.url_name import URL, id_of_url

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACCEPTED = (
    "a path, file:PATH, hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION], https://HOST/FILE, s3://BUCKET/KEY, "
    "oci:REGISTRY/REPO[:TAG] or ollama:NAME[:TAG]"
)
_DEFAULT_BRANCH = "main"

_NO_PATH = re.compile(r"https?//|//+[^/]*@|[^/]*//+[^/:]*:[^/]*@", re.IGNORECASE)


class ModelRef(ABC):
    """What a model is asked for by. `str` gives a text that `parse` reads back as an equal value.

    For messages and records there is `id`: the text may hold credentials.
    """

    is_local: ClassVar[bool] = False

    @staticmethod
    def parse(text: str) -> ModelRef:
        """Read a reference of any form; raise `InvalidReferenceError`, which says what is accepted."""
        check_type("text", text, str, "a string")
        scheme, colon, rest = text.partition(":")
        if not colon or "/" in scheme:
            if _NO_PATH.match(text):
                raise InvalidReferenceError(
                    "a URL has lost its scheme",
                    expected=_ACCEPTED,
                    found=shown(text),
                    fix="write https: before its slashes; if it is a local path, write local: before it",
                )
            return LocalRef(text)
        match scheme.lower():
            case "local":
                return LocalRef(rest)
            case "file":
                return LocalRef(path_of_file_url(rest) if rest.startswith("//") else rest)
            case "hf":
                return HubRef(*read_hub_name(rest.removeprefix("//")))
            case "https" | "http":
                return _parse_url(scheme.lower(), rest)
            case "s3":
                return ObjectRef(*read_object_name(rest))
            case "oci":
                return OciRef(*read_artifact_name(rest))
            case "ollama":
                return OllamaRef(*read_ollama_name(rest))
        raise InvalidReferenceError(
            f"no reference starts with {shown(scheme)}:",
            expected=_ACCEPTED,
            found=shown(text),
            fix="download the model and name the file"
            if rest.startswith("//")
            else "if it is a URL, write https:// before it; if it is a local path, write ./ before it"
            if CREDENTIALS.search(text)
            else f"if that is the name of a local file, write ./{shown(text)}",
        )

    @staticmethod
    def local(path: str | os.PathLike[str]) -> ModelRef:
        """Return the reference of a local file or folder, whatever its name looks like. Raises `InvalidReferenceError`."""
        return LocalRef(path_text("path", path))

    @staticmethod
    def hugging_face(org: str, repo: str, path: str | None = None, revision: str | None = None) -> ModelRef:
        """Return the reference of a repository of the Hugging Face Hub, or of the one file of it at `path`.

        `revision` is a branch, a tag or a commit; None is what its main branch has. Raises `InvalidReferenceError`.
        """
        for name, value in (("org", org), ("repo", repo)):
            check_type(name, value, str, "a string")
        for name, given in (("path", path), ("revision", revision)):
            check_type(name, given, (str, NoneType), "a string or None")
        return HubRef(f"{org}/{repo}", revision, path)

    @property
    @abstractmethod
    def id(self) -> str:
        """The name of the model in the catalog and in handoffs: no revision, no credential, no query."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The id, and those that records of earlier versions may have of the same model."""
        return (self.id,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts by which records may have the reference, without credentials; new ones have the first."""
        return (str(self),)

    def is_meant_by(self, text: str) -> bool:
        """Tell whether a text is a reference of the same files."""
        try:
            return str(self) in ModelRef.parse(text).texts
        except InvalidReferenceError:
            return False

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class LocalRef(ModelRef):
    """A local file or folder, by its path as written: it may be relative or start with `~`."""

    is_local: ClassVar[bool] = True

    path: str
    _resolved: bool = field(default=False, repr=False, compare=False, kw_only=True)
    """Whether `absolute` returned this: then its id is known without the disk."""
    written: str = field(default="", repr=False, compare=False, kw_only=True)
    """What `absolute` made the path of, where another machine may make another one of it: with `~`, or relative and leading
    out of its folder. Empty for all others."""

    def __post_init__(self) -> None:
        if not self.path:
            raise InvalidReferenceError(
                "the reference is empty",
                expected=_ACCEPTED,
                found="an empty text",
                fix="write the path of the model",
            )
        if is_file_name(self.path):
            return
        if is_beyond_locale(self.path):
            raise InvalidReferenceError(
                "the locale has no bytes for this name",
                expected=f"characters that {sys.getfilesystemencoding()} has",
                found=shown(self.path),
                fix=UTF8_FIX,
            )
        raise InvalidReferenceError(
            "no file can have this name",
            expected="a path without NUL and without lone surrogates",
            found=shown(self.path),
            fix="take the bad character out; bytes that are not UTF-8 can be written as %XX after file://",
        )

    @classmethod
    def at(cls, path: str, written: str = "") -> LocalRef:
        """Return the reference of a path that `absolute` returned before, without following its links again."""
        return cls(path, _resolved=True, written=written)

    def absolute(self, base: str, environment: PathEnvironment | None = None) -> LocalRef:
        """Return the reference with an absolute path, relative ones taken from the absolute folder `base`.

        `~` is expanded, `//` collapsed, `..` and the links above the last name followed as the operating system does.
        The last name is kept, even where it is a link, because engines read names. Nothing needs to be there.
        """
        if self._resolved:
            return self
        environment = environment or PathEnvironment()
        path = environment.expand(self.path)
        if path.startswith("~"):
            raise InvalidReferenceError(
                "no such user",
                expected="~/… for your own home, ~USER/… for a user of this machine",
                found=shown(self.path),
                fix=f"if that is the name of a local file, write ./{shown(self.path)}",
            )
        path = os.path.join(base, path)
        folder, name = os.path.split(path.rstrip("/"))
        named = name not in {"", ".", ".."}
        path = os.path.join(environment.ask(folder), name) if named else environment.ask(path)
        if self.path.startswith("~"):
            return self.at(path, self.path)
        if os.path.isabs(self.path) or path.startswith(f"{base}/"):
            return self.at(path)
        return self.at(path, "/".join(part for part in self.path.split("/") if part not in {"", "."}))

    @property
    def id(self) -> str:
        """`local:` and the absolute path; a relative one is taken from the working directory."""
        return f"local:{self.path if self._resolved else self.absolute(os.getcwd()).path}"

    def __str__(self) -> str:
        return f"local:{self.path}"  # the one form that takes every path as it stands


@dataclass(frozen=True)
class HubRef(ModelRef):
    """A repository of the Hugging Face Hub, one file of it (the first shard of a split), or its GGUF of a quantization."""

    repo: str
    revision: str | None = None
    path: str | None = None
    quantization: str | None = None
    """In upper case, however it was written; never beside a `path`."""
    url: UrlRef | None = field(default=None, repr=False, compare=False, kw_only=True)
    """Where the file is downloaded without huggingface_hub, if the reference was written as a URL: what it was read as before.
    May hold credentials, but no query."""

    def __post_init__(self) -> None:
        check_hub_name(self.repo, self.revision, self.path)
        check_first_shard(str(self), self.path or "")
        if self.quantization is not None:
            object.__setattr__(self, "quantization", checked_quantization(self.repo, self.quantization, self.path))

    @property
    def _end(self) -> str:
        return f"/{self.path}" if self.path else f":{self.quantization}" if self.quantization else ""

    @property
    def id(self) -> str:
        """The reference without its revision."""
        return f"hf:{self.repo}{self._end}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The id, and the URL that was one."""
        return (self.id,) if self.url is None else (self.id, self.url.id)

    @property
    def texts(self) -> tuple[str, ...]:
        """The reference, the same with or without the branch that is meant where none is named, and the URL."""
        other = {None: _DEFAULT_BRANCH, _DEFAULT_BRANCH: None}
        same = [replace(self, revision=other[self.revision])] if self.revision in other else []
        return (str(self), *map(str, same), *self.ids[1:])

    def __str__(self) -> str:
        revision = "" if self.revision is None else "@" + self.revision.replace("/", "%2F")
        return f"hf:{self.repo}{revision}{self._end}"


@dataclass(frozen=True, repr=False)
class UrlRef(ModelRef):
    """A file by its `https:` URL, which may hold credentials: `repr` shows the id."""

    url: str

    def __post_init__(self) -> None:
        if not URL.fullmatch(self.url):
            raise InvalidReferenceError(
                "not an https: URL of a file",
                expected="https://HOST/FILE, in ASCII, with %20 for a space",
                found=shown(self.url),
                fix="copy the link of the file from its page",
            )
        check_first_shard(self.id, unquote(urlsplit(self.id).path))

    @property
    def id(self) -> str:
        """The URL without credentials, query and fragment; `#query-<hash>` tells URLs of different queries apart.

        A fragment never reaches a server, so that an id is a reference again, with the same id.
        """
        return id_of_url(self.url)

    @property
    def texts(self) -> tuple[str, ...]:
        """The id."""
        return self.ids

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"UrlRef(id={self.id!r})"


@dataclass(frozen=True)
class ObjectRef(ModelRef):
    """An object of S3 storage, or all objects under a prefix: a key that ends in `/`."""

    bucket: str
    key: str

    def __post_init__(self) -> None:
        check_object(self.bucket, self.key, str(self))
        check_first_shard(str(self), self.key)

    @property
    def id(self) -> str:
        """The reference itself."""
        return str(self)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class OciRef(ModelRef):
    """An artifact of a registry, whose layers are the files of a model, or one file of it."""

    registry: str
    """Its host in small letters, with its port where that is not the usual one."""
    repository: str
    tag: str | None = None
    """None is `latest`."""
    digest: str | None = None
    """Of its manifest, `sha256:…`: it counts, and the tag is a word beside it."""
    path: str | None = None
    """The name of the one file that is meant."""

    def __post_init__(self) -> None:
        name = ArtifactName(self.registry, self.repository, self.tag, self.digest, self.path)
        check_artifact_name(name, str(self))
        check_first_shard(str(self), self.path or "")

    def _text(self, tag: str | None, digest: str | None) -> str:
        marked = ((":", tag), ("@", digest), ("#", self.path))
        return f"oci:{self.registry}/{self.repository}" + "".join(
            mark + each for mark, each in marked if each is not None
        )

    @property
    def id(self) -> str:
        """The reference without its digest."""
        return self._text(self.tag, None)

    @property
    def texts(self) -> tuple[str, ...]:
        """The reference, and the same with or without the tag that is meant where none is named."""
        other = {None: LATEST, LATEST: None}
        same = [self._text(other[self.tag], None)] if self.tag in other and self.digest is None else []
        return (str(self), *same)

    def __str__(self) -> str:
        return self._text(self.tag, self.digest)


@dataclass(frozen=True)
class OllamaRef(ModelRef):
    """A model of Ollama's registry, or one of the files that lie beside it there."""

    model: str
    """Its name, after that of its user where it is not one of Ollama's own library."""
    tag: str = LATEST
    path: str | None = None
    """The name of the one file that is meant."""

    def __post_init__(self) -> None:
        check_ollama_name(OllamaName(self.model, self.tag, self.path), str(self))
        check_first_shard(str(self), self.path or "")

    @property
    def id(self) -> str:
        """The reference itself."""
        return str(self)

    def __str__(self) -> str:
        return f"ollama:{self.model}:{self.tag}" + ("" if self.path is None else f"#{self.path}")


def _parse_url(scheme: str, rest: str) -> ModelRef:
    """Read a URL: as the reference of a Hub's model that it means, or else as a file's."""
    parts = URL.fullmatch(f"https:{rest}")
    if parts is not None and (meant := meaning(f"{scheme}:{rest}")) is not None:
        ref, url = HubRef(*read_hub_name(meant.text)), None
        if meant.download is not None and scheme == "https":
            asked = UrlRef(f"https:{rest}")
            credentials = parts[0][: parts.start("host")]
            _, mark, query = asked.id.partition("#")
            url = UrlRef(f"{credentials}{parts['host'].lower()}{parts['port']}{meant.download}{mark}{query}")
        return replace(ref, url=url)
    if scheme == "http":
        raise InvalidReferenceError(
            "models are not fetched over http:",
            expected="https://HOST/FILE",
            found=shown(f"http:{rest}"),
            fix=f"write {shown(f'https:{rest}')}",
        )
    return UrlRef(f"https:{rest}")


def id_now(recorded: str) -> str:
    """Return the id by which a model goes now, given the one that a record has of it."""
    if not recorded.startswith("https:"):
        return recorded
    try:
        return ModelRef.parse(recorded).id
    except InvalidReferenceError:
        return recorded


def is_whole(ref: ModelRef) -> bool:
    """Tell whether a reference is of a folder: of all files of a repository, or under a prefix."""
    return (isinstance(ref, HubRef) and ref.path is None and ref.quantization is None) or (
        isinstance(ref, ObjectRef) and ref.key.endswith("/")
    )


def kind_of(ref: ModelRef, names: Sequence[str]) -> str:
    """Return what the files of a remote reference are together: a `file`, a `split` or a `folder`."""
    if is_whole(ref):
        return "folder"
    if len(names) == 1:
        return "file"
    return "split" if sorted(names) == split_names(names[0]) else "folder"
