"""Mirrors: places that are asked for files by their SHA-256, before the source is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from model_provisioner.errors import InputError, ProvisionError, SettingError, printable
from model_provisioner.references.reference import ObjectRef, UrlRef

if TYPE_CHECKING:
    from collections.abc import Mapping

MIRRORS_VARIABLE = "MODEL_PROVISIONER_MIRRORS"
FORMS = "s3://BUCKET/PREFIX/ or https://HOST/PREFIX/"
MOST = 8
"""How many may be named: each that is down costs time."""

_HTTPS = re.compile(r"https://(?P<place>[^/?#@]+)(?P<path>/[^?#]*)?", re.IGNORECASE)
_S3 = re.compile(r"s3://(?P<place>[^/?#@]+)(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Mirror:
    """A place that holds files by their SHA-256. `str` gives the text that `parse` reads; it never holds credentials."""

    kind: Literal["s3", "https"]
    place: str
    """The bucket, or the host with its port."""
    prefix: str
    """What stands before `sha256/`: empty, or a text that ends in `/`."""

    @classmethod
    def parse(cls, text: str) -> Mirror:
        """Read a mirror as a user writes it; the `/` at its end may be missing. Raises `InputError`, which shows no secret."""
        kind: Literal["s3", "https"]
        if found := _S3.fullmatch(text):
            kind, prefix = "s3", (found["path"] or "")[1:]
        elif found := _HTTPS.fullmatch(text):
            kind, prefix = "https", (found["path"] or "")[1:]
        else:
            raise _refused(text)
        prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        mirror = cls(kind, found["place"].lower() if kind == "https" else found["place"], prefix)
        try:
            ObjectRef(mirror.place, mirror.key("0" * 64)) if kind == "s3" else UrlRef(mirror.url("0" * 64))
        except ProvisionError as error:
            raise _refused(text, error.expected) from None
        if ".." in unquote(prefix).split("/"):
            raise _refused(text)
        return mirror

    def key(self, sha256: str) -> str:
        """Return where the file with this SHA-256 (hexadecimal) lies: `PREFIX/sha256/<first two digits>/<64 digits>`."""
        return f"{self.prefix}sha256/{sha256[:2]}/{sha256}"

    def url(self, sha256: str) -> str:
        """Return the URL of the file with this SHA-256 on a web server."""
        return f"https://{self.place}/{quote(self.key(sha256), safe=_AS_WRITTEN)}"

    def __str__(self) -> str:
        return f"{self.kind}://{self.place}/{self.prefix}"


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


def _refused(text: str, expected: str = "") -> InputError:
    shown = printable(f"…@{text.rpartition('@')[2]}" if "@" in text else text.partition("?")[0])
    more = f" ({expected})" if expected else ""
    return InputError(
        "not a mirror",
        expected=f"{FORMS}, without credentials and query{more}",
        found=shown[:200] or "an empty text",
        fix="write the place that holds files as sha256/<first two digits>/<64 digits>; credentials for a host are in ~/.netrc",
    )
