"""What was begun of a file: the rest has to agree with it.

Whether a server still has the version that is here is asked in one way, by one request, whose answer brings what is missing,
too: the last byte that is here is asked for, `If-Range` it is of that version. A server of that version answers 206; one that
has another one, or that knows no ranges, answers 200, and its headers tell which it is, before a byte of its body is read.

Of a whole file with an ETag, `If-None-Match` is asked as well, which goes before the range (RFC 9110, 13.2.2): 304 brings no
byte, also from a server that knows no ranges or does not say how long the file is. Of a date there is no `If-Modified-Since`:
it asks for what is newer, and a server with an older file, as one that was copied with its times, would say that nothing
changed. `If-Range` asks for that very date.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model_provisioner.errors import FetchError


class LieError(FetchError):
    """A response that is not what it says it is, or not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is here of a file, and what its server said of the whole when that came."""

    size: int
    """Bytes that are here, from the beginning of the file."""
    validator: str | None
    """What the server called this version: a strong ETag or a time of last modification. None where only the digest tells."""
    total: int | None
    """Bytes of the whole file, None where it was not said."""
    by_digest: bool = False
    """Whether the digest of the whole file is known, so that the rest may come from a server that calls it otherwise."""

    @property
    def has_etag(self) -> bool:
        """Whether the version is known by an ETag, not by a date."""
        return self.validator is not None and self.validator.startswith('"')

    @property
    def ways(self) -> tuple[Begun, ...]:
        """What to ask for, one after the other: the rest of this version; where the digest will tell, the rest of any."""
        if not self.by_digest or self.validator is None:
            return (self,)
        return self, replace(self, validator=None)

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask for the rest of this version, from the last byte here: a whole file has none after it."""
        asked = {"range": f"bytes={self.size - 1}-"} if self.size else {}
        if self.validator is None:
            return asked
        if asked:
            asked["if-range"] = self.validator
        return {**asked, "if-none-match": self.validator} if self.size == self.total and self.has_etag else asked
