"""How an object of S3 storage is named after `s3:`."""

from __future__ import annotations

import re

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.file_names import NO_KEY
from model_provisioner.references.shown import shown

_BUCKET = re.compile(r"(?!.*\.\.)(?!(?:[0-9]+\.){3}[0-9]+\Z)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def read_object_name(rest: str) -> tuple[str, str]:
    """Return bucket and key of what follows `s3:`. Raises `InvalidReferenceError`."""
    if not rest.startswith("//"):
        raise _not_an_object(f"s3:{rest}")
    bucket, _, key = rest[2:].partition("/")
    return bucket, key


def check_object(bucket: str, key: str, text: str) -> None:
    """Raise `InvalidReferenceError` unless there can be such an object; `text` is the whole reference."""
    if bucket and not _BUCKET.fullmatch(bucket):
        raise InvalidReferenceError(
            "no bucket can have this name",
            expected="3 to 63 of a-z, 0-9, - and . (none beside another), a letter or digit at both ends, no IP address",
            found=shown(text),
            fix="copy the name as your storage lists it: s3://BUCKET/KEY, without host and credentials",
        )
    if not bucket or NO_KEY.search(key):
        raise _not_an_object(text)


def _not_an_object(text: str) -> InvalidReferenceError:
    return InvalidReferenceError(
        "not an object of S3 storage",
        expected="s3://BUCKET/KEY, or s3://BUCKET/PREFIX/ for all under it",
        found=shown(text),
        fix="write bucket and key as your storage lists them; credentials come from the environment",
    )
