"""How long trouble at a source that may pass is waited out: a few tries, as far apart as the source asks, and an end."""

from __future__ import annotations

import math
import random
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ATTEMPTS = 5
"""How often in a row the same thing is asked for before it is given up."""
LONGEST = 300.0
"""Seconds that are waited in all before it is. A source that asks for more is given up at once."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may go well."""

_LIMIT = re.compile(r";\s*([a-z]+)\s*=\s*(\d{1,9})(?=\s*(?:;|$))")
"""A number of a `RateLimit`: `"api";r=0;t=55` has 0 requests left for the next 55 seconds."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How long a host is borne with."""

    attempts: int = ATTEMPTS
    """How often in a row the same thing is asked for before it is given up."""
    longest: float = LONGEST
    """Seconds that are waited in all before it is."""
    connect: float = math.inf
    """Seconds that a connection may take, and `stall` those for which no byte may come, if that is less than usual."""
    stall: float = math.inf


SOURCE = Terms()
MIRROR = Terms(attempts=2, longest=5.0, connect=3.0, stall=10.0)
"""Behind a mirror stands a source: nobody waits long."""


def pause(seconds: float, why: str) -> None:
    """Wait, and tell nobody."""
    time.sleep(seconds)


@dataclass
class Patience:
    """The tries of one question or download."""

    wait: Callable[[float, str], object] = field(default=pause)
    """Waits for seconds, and tells why; what it raises ends the question."""
    terms: Terms = SOURCE
    tried: int = 0
    waited: float = 0.0

    def begin_anew(self) -> None:
        """Note that the last try brought something."""
        self.tried, self.waited = 0, 0.0

    def allows(self, asked: float | None, why: str) -> bool:
        """Note a try that failed, and wait before the next: for as long as the source asked, in seconds, where it did.

        Return False, at once, where there is no next.
        """
        self.tried += 1
        seconds = backoff(self.tried) if asked is None else asked
        if self.tried >= self.terms.attempts or self.waited + seconds > self.terms.longest:
            return False
        self.waited += seconds
        self.wait(seconds, why)
        return True


def backoff(tried: int) -> float:
    """Return for how many seconds to wait: twice as long each time, and not in step with others who failed with us."""
    return min(30.0, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  no secret: it spreads tries


def wait_asked_by(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds a response asks to wait, by `Retry-After` or a `RateLimit` that is used up; else None."""
    waits = [_retry_after(headers.get("Retry-After", ""))]
    for limit in headers.get("RateLimit", "").split(","):
        said = dict(_LIMIT.findall(limit))
        if "t" in said and int(said.get("r", "0")) == 0:
            waits.append(float(said["t"]))
    return max((each for each in waits if each is not None), default=None)


def too_long(wait: float | None) -> str:
    """Say, as the end of a sentence, that a source asks for a longer wait than there is; empty where it does not."""
    if wait is None or wait <= LONGEST:
        return ""
    return f", and asks for a wait of {wait:,.0f} s, where at most {LONGEST:.0f} s are waited"


def _retry_after(text: str) -> float | None:
    """Return the seconds of a `Retry-After`, which may be a date; None where there is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
