"""The XML of an S3 storage: a page of a listing, or an error. Nothing of it is believed unchecked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

MAX_TAGS = 1 << 18
"""Opening and closing ones, of one text: ten times those of a page of a thousand objects. Each takes memory."""
MAX_FIELD = 2048
"""Characters of the name of an upload."""
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_REGION = re.compile(r"[a-z0-9]{1,20}(?:-[a-z0-9]{1,20}){0,5}")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object as a listing has it."""

    key: str
    size: int
    """In bytes."""
    etag: str
    """With its quotes; empty where the storage says none."""
    has_sha256: bool
    """Whether the storage keeps a SHA-256 of it, or of its pieces."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a listing."""

    objects: tuple[Listed, ...]
    after: str | None
    """The token that asks for the next page; None: this was the last."""


def read_page(body: bytes) -> Page:
    """Read an answer to ListObjectsV2. Raises `ValueError` for anything else."""
    root = _tree(body, "ListBucketResult")
    encoded = _text(root, "EncodingType") == "url"
    objects = []
    for element in _children(root, "Contents"):
        key = _text(element, "Key")
        size = _text(element, "Size")
        if not key or not (size.isascii() and size.isdigit() and len(size) < 19):
            raise ValueError("an object without key or size")
        objects.append(
            Listed(
                key=unquote_plus(key, errors="strict") if encoded else key,
                size=int(size),
                etag=_text(element, "ETag"),
                has_sha256=any(each.text == "SHA256" for each in _children(element, "ChecksumAlgorithm")),
            )
        )
    after = _text(root, "NextContinuationToken") if _text(root, "IsTruncated") == "true" else None
    if after == "":
        raise ValueError("more to come, and no token to ask for it")
    return Page(objects=tuple(objects), after=after)


def read_error(body: bytes) -> tuple[str, str]:
    """Return the code of an error and the region that it names instead; each is empty where there is none.

    Its sentences are left out: they repeat what was sent.
    """
    try:
        root = _tree(body, "Error")
    except ValueError:
        return "", ""
    code, region = _text(root, "Code"), _text(root, "Region")
    return code if _CODE.fullmatch(code) else "", region if is_region(region) else ""


def read_upload(body: bytes, name: str, field: str) -> str:
    """Return a field of an answer of that name, about an upload in parts. Raises `ValueError` for anything else."""
    if not (found := _text(_tree(body, name), field)) or len(found) > MAX_FIELD:
        raise ValueError(f"no sound {field}")
    return found


def is_region(text: str) -> bool:
    """Tell whether a text can be the name of a region, so that it may stand in the name of a host."""
    return _REGION.fullmatch(text) is not None


def _tree(body: bytes, name: str) -> Element:
    """Parse what has no declarations of its own, so that there is no entity to expand. Raises `ValueError`."""
    text = body.decode()
    if "<!" in text:
        raise ValueError("a declaration, a comment or CDATA")
    if (tags := text.count("<")) > MAX_TAGS:
        raise ValueError(f"{tags:,} tags, and at most {MAX_TAGS:,} are read")
    try:
        root = ET.fromstring(text)  # noqa: S314  it has no entities
    except ET.ParseError as error:
        raise ValueError(str(error)) from None
    if _name(root) != name:
        raise ValueError(f"<{_name(root)}>")
    return root


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]  # storages differ in the namespace


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _name(child) == name)


def _text(element: Element, name: str) -> str:
    return next((child.text or "" for child in _children(element, name)), "")
