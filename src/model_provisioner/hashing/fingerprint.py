"""The fingerprint of a file: tells far faster than SHA-256 whether its bytes are those that were hashed before.

It is keyed. A key has two lanes, each with a seed and a prefix of its own, and a lane is the xxh3-128 of the prefix and a
segment of the file under the seed. The fingerprint is the SHA-256 of the lanes of all segments and of the size. It is no
MAC: what it is worth stands in `docs/adr/0018-keyed-fingerprints.md`. Fixed segments let several cores work on one file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import xxhash

from model_provisioner.errors import StorageError
from model_provisioner.fs.read import NotOursError
from model_provisioner.fs.secret import keep_secret, read_secret
from model_provisioner.fs.unreachable import STATE_SETTING, storage_error

if TYPE_CHECKING:
    from collections.abc import Sequence

SEGMENT = 64 << 20
LANES = 2
PREFIX = 1024
"""A prefix has less than so many bytes: one block of xxh3, so that where the blocks of a file begin can't be known."""

NAME = "fingerprint.key"
MAGIC = b"model-provisioner fingerprint key 1\n"


@dataclass(frozen=True)
class Lane:
    """The secret of one lane."""

    seed: int = field(repr=False)
    """64 bits."""
    prefix: bytes = field(repr=False)


@dataclass(frozen=True)
class FingerprintKey:
    """The secret by which this user's fingerprints are taken. It never leaves the state folder."""

    lanes: tuple[Lane, ...] = field(repr=False)

    @classmethod
    def drawn(cls) -> FingerprintKey:
        """Draw a key at random."""
        sizes = (secrets.randbelow(PREFIX) for _ in range(LANES))
        return cls(tuple(Lane(secrets.randbits(64), secrets.token_bytes(size)) for size in sizes))

    @classmethod
    def parse(cls, data: bytes) -> FingerprintKey | None:
        """Return the key that `render` wrote; None for other data, or damaged data."""
        check, body = data[len(MAGIC) : len(MAGIC) + 4], data[len(MAGIC) + 4 :]
        if not data.startswith(MAGIC) or zlib.crc32(body).to_bytes(4, "little") != check:
            return None
        lanes = []
        while body:
            seed, size = int.from_bytes(body[:8], "little"), int.from_bytes(body[8:10], "little")
            lanes.append(Lane(seed, body[10 : 10 + size]))
            body = body[10 + size :]
        return cls(tuple(lanes)) if len(lanes) == LANES else None

    @classmethod
    def is_whole(cls, data: bytes) -> bool:
        """Tell whether these are the bytes of a key."""
        return cls.parse(data) is not None

    def render(self) -> bytes:
        """Return the key as the state folder keeps it."""
        body = b"".join(
            lane.seed.to_bytes(8, "little") + len(lane.prefix).to_bytes(2, "little") + lane.prefix
            for lane in self.lanes
        )
        return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body

    @cached_property
    def name(self) -> str:
        """What fingerprints say of the key by which they were taken: under another one they say nothing."""
        return hashlib.sha256(self.render()).hexdigest()[:16]

    def took(self, fingerprint: str | None) -> bool:
        """Tell whether a fingerprint was taken by this key."""
        return fingerprint is not None and fingerprint.startswith(f"{self.name}:")


def load_key(state: str, *, read_only: bool) -> FingerprintKey:
    """Return the key in the state folder `state`; draw one where there is none, or a damaged one.

    One that can't be kept, or must not be as with `read_only`, holds for this process: its fingerprints match no others.
    Raises `StorageError` for what is no file of ours in the place of the key.
    """
    drawn = FingerprintKey.drawn()
    try:
        kept = (
            read_secret(state, NAME) if read_only else keep_secret(state, NAME, drawn.render, FingerprintKey.is_whole)
        )
    except NotOursError as error:
        what = "the key of the fingerprints can't be used"
        raise storage_error(what, os.path.join(state, NAME), error, elsewhere=STATE_SETTING) from None
    except (OSError, StorageError):
        kept = None
    return (None if kept is None else FingerprintKey.parse(kept)) or drawn


class Fingerprint:
    """The fingerprint of bytes that are added in order."""

    def __init__(self, key: FingerprintKey) -> None:
        self._key = key
        self._begun = [xxhash.xxh3_128(lane.prefix, seed=lane.seed) for lane in key.lanes]
        """The lanes as every segment begins."""
        self._lanes = [lane.copy() for lane in self._begun]
        self._digests: list[bytes] = []
        """Those of the full segments."""
        self._size = 0

    def update(self, chunk: memoryview) -> None:
        """Add bytes."""
        while chunk:
            room = SEGMENT - self._size % SEGMENT
            part = chunk[:room]
            for lane in self._lanes:
                lane.update(part)
            self._size += len(part)
            chunk = chunk[room:]
            if self._size % SEGMENT == 0:
                self._digests += self._segment()
                self._lanes = [lane.copy() for lane in self._begun]

    def extend(self, following: Fingerprint) -> None:
        """Append another fingerprint by the same key. The bytes of this one must end where a segment does."""
        self._digests += following._digests
        self._lanes = following._lanes
        self._size += following._size

    def text(self) -> str:
        """Return the fingerprint of the bytes so far: the name of the key, a colon and hexadecimal digits."""
        total = hashlib.sha256(b"".join(self._digests))
        if self._size % SEGMENT:
            total.update(b"".join(self._segment()))
        total.update(self._size.to_bytes(8, "little"))
        return f"{self._key.name}:{total.hexdigest()}"

    def _segment(self) -> Sequence[bytes]:
        return [lane.digest() for lane in self._lanes]
