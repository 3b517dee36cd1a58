"""What may stand for an expected digest in a configuration, and what a value of it means."""

from __future__ import annotations

import os
import reprlib
from typing import TYPE_CHECKING, Any

from model_provisioner.config.document import cut
from model_provisioner.errors import InvalidDigestError, printable
from model_provisioner.references.digest import Digest, SetDigest

if TYPE_CHECKING:
    from model_provisioner.references.digest import Expected


def parse_expected(value: Any) -> Expected | None:
    """Return the expected digest that a value of `expected_digest` stands for."""
    if value is None:
        return None
    if isinstance(value, str):
        return Digest.parse(value)
    if isinstance(value, dict) and value and value.keys() <= {"algo", "value"}:
        algo, digits = value.get("algo", ""), value.get("value", "")
        if isinstance(algo, str) and isinstance(digits, str):
            return Digest(algo.lower(), digits)
    elif isinstance(value, dict) and value:
        files = [(name, parse_sha256(each)) for name, each in value.items()]
        return SetDigest(tuple(sorted(files, key=lambda file: os.fsencode(file[0]))))
    raise InvalidDigestError(
        "not a digest",
        expected='"sha256:<hex>", "dirhash:<hex>", {algo: …, value: …} or a mapping of path to "sha256:<hex>"',
        found=short(value),
        fix="run `sha256sum FILE` and copy the first word behind sha256:",
    )


def parse_sha256(value: Any) -> Digest:
    digest = parse_expected(value) if isinstance(value, str) else None
    if not isinstance(digest, Digest) or digest.algo != "sha256":
        raise InvalidDigestError(
            "not the digest of a file",
            expected='"sha256:<64 hexadecimal digits>"',
            found=short(value),
            fix="run `sha256sum FILE`",
        )
    return digest


class _Repr(reprlib.Repr):
    """A `repr` that stays short, whatever aliases make of the value, and tells nothing of a URL but its scheme."""

    def repr_str(self, x: str, level: int) -> str:
        return repr(cut(x))


def short(value: Any) -> str:
    """Return what a message may tell of a value: a line at the most."""
    text = printable(_Repr().repr(value))
    return text if len(text) <= 80 else text[:77] + "…"
