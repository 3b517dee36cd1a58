r"""Digests: of one file (`sha256`) and of a set of files (`dirhash`).

A `dirhash` is the SHA-256 over the lines `<sha256>  <relative/path>\n`, sorted by the bytes of the path: what
`sha256sum` prints for the files of a folder, sorted by `LC_ALL=C sort -k2`, hashed once more.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.arguments import check_type
from model_provisioner.errors import InvalidDigestError

if TYPE_CHECKING:
    from collections.abc import Iterable

ALGORITHMS = ("sha256", "dirhash")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 as this program writes it; for `fullmatch`, or by its `pattern` as part of another."""
_COPY = "run `sha256sum FILE` and copy the first word"


@dataclass(frozen=True)
class Digest:
    """A digest by algorithm and value: 64 hexadecimal digits, folded to lower case.

    Raises `InvalidDigestError` for another algorithm or another value.
    """

    algo: str
    value: str

    def __post_init__(self) -> None:
        check_type("algo", self.algo, str, "a string")
        check_type("value", self.value, str, "a string")
        if self.algo not in ALGORITHMS:
            raise InvalidDigestError(
                "unknown digest algorithm",
                expected="sha256 (one file) or dirhash (a split or a folder)",
                found=repr(self.algo),
                fix="SHA-256 is what `sha256sum FILE` prints",
            )
        folded = self.value.lower()
        if not SHA256_HEX.fullmatch(folded):
            raise InvalidDigestError(
                "not a digest value",
                expected="64 hexadecimal digits",
                found=f"{self.value!r} ({len(self.value)} characters)",
                fix=_COPY,
            )
        object.__setattr__(self, "value", folded)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>` or `dirhash:<hex>`, the form that `str` gives back. Raises `InvalidDigestError`."""
        check_type("text", text, str, "a string")
        text = text.strip()
        algo, colon, value = text.partition(":")
        if not colon:
            raise InvalidDigestError(
                "a digest names its algorithm",
                expected="sha256:<64 hexadecimal digits>",
                found=repr(text),
                fix=f"write sha256:{text}" if SHA256_HEX.fullmatch(text.lower()) else _COPY,
            )
        return cls(algo.lower(), value)

    def __str__(self) -> str:
        return f"{self.algo}:{self.value}"


@dataclass(frozen=True)
class SetDigest:
    """What is expected of a split or a folder, file by file: pairs of relative path and SHA-256, sorted by path bytes."""

    files: tuple[tuple[str, Digest], ...]

    @property
    def dirhash(self) -> Digest:
        """The one digest these files make together."""
        return dirhash((path, digest.value) for path, digest in self.files)

    def __str__(self) -> str:
        return str(self.dirhash)


Expected = Digest | SetDigest


def dirhash(files: Iterable[tuple[str, str]]) -> Digest:
    """Return the digest of a set of `(relative path, SHA-256 in hex)`."""
    lines = sorted((os.fsencode(path), value) for path, value in files)
    total = hashlib.sha256()
    for path, value in lines:
        total.update(value.encode() + b"  " + path + b"\n")
    return Digest("dirhash", total.hexdigest())
