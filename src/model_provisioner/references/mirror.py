"""Mirrors: places that are asked for files by their SHA-256, before the source is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from model_provisioner.errors import InputError, InvalidReferenceError, SettingError
from model_provisioner.references.reference import ModelRef, ObjectRef, OciRef, UrlRef
from model_provisioner.references.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

MIRRORS_VARIABLE = "MODEL_PROVISIONER_MIRRORS"
FORMS = "s3://BUCKET/PREFIX/, https://HOST/PREFIX/ or oci:REGISTRY/REPOSITORY"
MOST = 8
"""How many may be named: each that is down costs time."""

_HOST = re.compile(r"https://(?P<place>[^/?#@]+)(?P<path>/[^?#]*)?", re.IGNORECASE)
_BUCKET = re.compile(r"s3://(?P<place>[^/?#@]+)(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Mirror:
    """A place that holds files by their SHA-256. `str` gives the text that `parse` reads; it never holds credentials."""

    kind: Literal["s3", "https", "oci"]
    place: str
    """The bucket, the host or the registry, with its port."""
    path: str
    """The repository of a registry; else what stands before `sha256/`: empty, or a text that ends in `/`."""

    @classmethod
    def parse(cls, text: str) -> Mirror:
        """Read a mirror as a user writes it; the `/` at its end may be missing. Raises `InputError`, which shows no secret."""
        expected = ""
        try:
            if text[:4].lower() == "oci:":
                ref = ModelRef.parse(text)
                if isinstance(ref, OciRef) and ref == OciRef(ref.registry, ref.repository):
                    return cls("oci", ref.registry, ref.repository)
            elif found := _BUCKET.fullmatch(text):
                mirror = cls("s3", found["place"], _folder(found["path"]))
                ObjectRef(mirror.place, mirror.key("0" * 64))
                return mirror
            elif found := _HOST.fullmatch(text):
                mirror = cls("https", found["place"].lower(), _folder(found["path"]))
                UrlRef(mirror.url("0" * 64))
                if not {".", ".."} & set(unquote(mirror.path).split("/")):
                    return mirror
        except InvalidReferenceError as error:
            expected = f" ({error.expected})"
        raise InputError(
            "not a mirror",
            expected=f"{FORMS}, without credentials and query{expected}",
            found=shown(text) or "an empty text",
            fix="name the place that holds files by their SHA-256; credentials are where those for its host are",
        )

    def key(self, sha256: str) -> str:
        """Return where a bucket or a web server has the file with a SHA-256: `PREFIX/sha256/<first two digits>/<64 digits>`."""
        return f"{self.path}sha256/{sha256[:2]}/{sha256}"

    def url(self, sha256: str) -> str:
        """Return the URL of the file with this SHA-256 on a web server."""
        return f"https://{self.place}/{quote(self.key(sha256), safe=_AS_WRITTEN)}"

    def __str__(self) -> str:
        return f"oci:{self.place}/{self.path}" if self.kind == "oci" else f"{self.kind}://{self.place}/{self.path}"


_AS_WRITTEN = "%/:@!$&'()*+,;=~"


def users_mirrors(environ: Mapping[str, str] = os.environ) -> tuple[Mirror, ...] | None:
    """Return the mirrors that the user names, in the place of a project's: none for `off`; None: the project's are asked.

    Raises `SettingError`.
    """
    texts = environ.get(MIRRORS_VARIABLE, "").split()
    if [text.lower() for text in texts] == ["off"]:
        return ()
    try:
        return checked([Mirror.parse(text) for text in texts]) or None
    except InputError as error:
        raise SettingError(
            f"{MIRRORS_VARIABLE} can't be understood",
            where="the environment",
            expected=f"off, or with blanks between them: {error.expected}",
            found=error.found,
            fix=f'correct it, as in   export {MIRRORS_VARIABLE}="s3://models/cache/ https://mirror.example.org/"',
        ) from None


def checked(mirrors: list[Mirror]) -> tuple[Mirror, ...]:
    """Return mirrors, each once. Raises `InputError` for more than there may be."""
    found = tuple(dict.fromkeys(mirrors))
    if len(found) > MOST:
        raise InputError(
            "too many mirrors",
            expected=f"at most {MOST} of {FORMS}",
            found=f"{len(found)}",
            fix="name those that are near",
        )
    return found


def _folder(path: str | None) -> str:
    """Return the path behind a host or bucket as the beginning of keys."""
    return "".join(f"{part}/" for part in (path or "").split("/") if part)
