"""A fleet in discrete events: who waits for a database, how long a round of audits takes, how a file spreads over mirrors.

Only arithmetic, and only of the standard library: `fleet.py` gives it what was measured and compares it with what happens.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

ATTEMPTS = 5
"""How often in a row a host asks a mirror that turns it away: as in the program's `fetchers/patience.py`."""


def arrivals(count: int, jitter: float, random: Random) -> list[float]:
    """Return when timers that are set to one moment fire, in seconds after it, each late by up to `jitter`."""
    return sorted(random.uniform(0, jitter) for _ in range(count))


def backoff(tried: int, random: Random) -> float:
    """Return for how many seconds a host waits before it asks again, as the program does."""
    return min(30.0, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)


def share(values: Sequence[float], part: float) -> float:
    """Return the value that so large a part of the values does not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class Queue:
    """What became of requests to something that serves a few at a time."""

    took: tuple[float, ...]
    """Seconds of each that was served, from its arrival to its end."""
    given_up: int
    """How many had waited too long when their turn came."""
    end: float
    """When the last was served, in seconds."""


def queue(arriving: Sequence[float], service: float, workers: int, timeout: float) -> Queue:
    """Serve requests in the order of their arrival: each holds one of the workers for `service` seconds.

    One that could not end within `timeout` seconds of its arrival is given up, and takes nobody's time.
    """
    free = [0.0] * workers
    took, given_up, end = [], 0, 0.0
    for at in sorted(arriving):
        begin = max(at, free[0])
        if begin + service - at > timeout:
            given_up += 1
            continue
        end = begin + service
        heapq.heapreplace(free, end)
        took.append(end - at)
    return Queue(tuple(took), given_up, max(free))


def audit_nights(sizes: Sequence[int], most: int) -> list[int]:
    """Return the bytes that each night reads until every model had its turn, the longest unread first.

    As the audit does: it ends before more than `most` bytes would be read, and reads the first model whatever its size.
    """
    nights: list[int] = []
    left = list(sizes)
    while left:
        read = left.pop(0)
        while left and read + left[0] <= most:
            read += left.pop(0)
        nights.append(read)
    return nights


@dataclass(frozen=True)
class FanOut:
    """How a file came to hosts from one server."""

    took: tuple[float, ...]
    """Seconds of each host that has it, from its first request."""
    end: float
    """When the last of these had it, in seconds."""
    most: int
    """How many it was sent to at a time, at most."""
    turned_away: int
    """How many requests the server turned away."""
    given_up: int
    """How many hosts gave up."""


def fan_out(
    arriving: Sequence[float], size: float, line: float, host_line: float, slots: int, random: Random
) -> FanOut:
    """Send a file of `size` bytes to hosts over a line of `line` bytes/s that all share alike; each takes at most `host_line`.

    The server sends to `slots` hosts at a time and turns others away, who wait as `backoff` says and give up after `ATTEMPTS`.
    """
    asking = [(at, number, 1) for number, at in enumerate(arriving)]
    heapq.heapify(asking)
    sending: list[tuple[float, int]] = []
    """By the bytes that a host which was there from the start would have when this one is done."""
    now = sent = 0.0
    took: list[float] = []
    most = turned_away = given_up = 0
    while asking or sending:
        rate = min(host_line, line / len(sending)) if sending else host_line
        done = now + (sending[0][0] - sent) / rate if sending else float("inf")
        if asking and asking[0][0] < done:
            at, number, tried = heapq.heappop(asking)
            sent, now = sent + (at - now) * (rate if sending else 0), at
            if len(sending) < slots:
                heapq.heappush(sending, (sent + size, number))
                most = max(most, len(sending))
                continue
            turned_away += 1
            if tried < ATTEMPTS:
                heapq.heappush(asking, (at + backoff(tried, random), number, tried + 1))
            else:
                given_up += 1
        else:
            (sent, number), now = heapq.heappop(sending), done
            took.append(now - arriving[number])
    return FanOut(tuple(took), now if took else 0.0, most, turned_away, given_up)


def spread(
    hosts: int, mirrors: int, size: float, line: float, host_line: float, slots: int, jitter: float, random: Random
) -> list[FanOut]:
    """Return how a file comes to hosts by mirrors that each serve as many of them as any other."""
    return [
        fan_out(arrivals(len(range(number, hosts, mirrors)), jitter, random), size, line, host_line, slots, random)
        for number in range(mirrors)
    ]
