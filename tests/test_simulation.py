"""The arithmetic of the simulated fleet, on cases that can be worked out by hand."""

import sys
from pathlib import Path
from random import Random

import pytest

from model_provisioner.fetchers import patience

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import simulation
from simulation import arrivals, audit_nights, fan_out, queue, share, spread

MANY = 1 << 30


def test_timers_fire_within_their_jitter_and_the_same_seed_gives_the_same():
    found = arrivals(1000, 60, Random(1))
    assert found == sorted(found) == arrivals(1000, 60, Random(1))
    assert 0 <= found[0] < found[-1] <= 60
    assert arrivals(3, 0, Random(1)) == [0, 0, 0]


def test_a_host_waits_as_the_program_does(monkeypatch):
    assert simulation.ATTEMPTS == patience.ATTEMPTS
    for tried in range(1, 8):
        monkeypatch.setattr(patience.random, "uniform", Random(7).uniform)
        assert simulation.backoff(tried, Random(7)) == patience.backoff(tried)


def test_a_share_of_values():
    assert [share(range(1, 101), part) for part in (0, 0.5, 0.99, 1)] == [1, 51, 100, 100]
    assert share([], 0.5) == 0


# ---- the database


def test_who_comes_alone_waits_for_nobody():
    assert queue([0, 10], 2, 1, 30).took == (2, 2)


def test_who_comes_together_is_served_one_after_the_other():
    found = queue([0] * 6, 2, 2, 30)
    assert (found.took, found.end, found.given_up) == ((2, 2, 4, 4, 6, 6), 6, 0)


def test_who_would_wait_too_long_gives_up_and_keeps_nobody_waiting():
    found = queue([0, 0, 0, 3], 2, 1, 4)
    assert (found.took, found.given_up, found.end) == ((2, 4, 3), 1, 6)


def test_a_jitter_of_twice_the_work_leaves_nobody_waiting_long():
    at_once = queue(arrivals(1000, 0, Random(1)), 0.1, 10, MANY)
    apart = queue(arrivals(1000, 20, Random(1)), 0.1, 10, MANY)
    assert at_once.end == pytest.approx(10)
    assert share(apart.took, 0.99) < 0.3 < 9 < share(at_once.took, 0.99)


# ---- the audit


def test_nights_end_before_the_bytes_would_be_more():
    assert audit_nights([3, 3, 3, 3, 3], 7) == [6, 6, 3]
    assert audit_nights([3, 3], 6) == [6]
    assert audit_nights([], 6) == []


def test_a_model_of_more_than_a_night_has_a_night_of_its_own():
    assert audit_nights([1, 10, 1], 5) == [1, 10, 1]


# ---- the mirror


def test_one_host_takes_what_its_own_line_takes():
    found = fan_out([5], 100, line=50, host_line=10, slots=MANY, random=Random(1))
    assert (found.took, found.end, found.most) == ((10,), 15, 1)


def test_hosts_share_the_line():
    found = fan_out([0] * 10, 100, line=50, host_line=10, slots=MANY, random=Random(1))
    assert found.took == pytest.approx((20,) * 10)
    assert found.most == 10


def test_who_comes_later_slows_who_is_there():
    # Alone for 5 s at 10 (50 bytes), together at 5 each for 10 s (50 bytes: the first is done), then alone again for 5 s.
    found = fan_out([0, 5], 100, line=10, host_line=10, slots=MANY, random=Random(1))
    assert found.took == pytest.approx((15, 15))
    assert found.end == pytest.approx(20)


def test_bytes_are_neither_lost_nor_made():
    random = Random(3)
    for hosts in (1, 7, 100):
        found = fan_out(arrivals(hosts, 30, random), 1000, line=500, host_line=100, slots=MANY, random=random)
        assert len(found.took) == hosts
        assert found.end >= hosts * 1000 / 500
        assert min(found.took) >= 1000 / 100 - 1e-9


def test_who_is_turned_away_comes_again_and_gives_up_in_the_end():
    brief = fan_out([0, 0], 10, line=10, host_line=10, slots=1, random=Random(1))
    assert (len(brief.took), brief.turned_away > 0, brief.given_up) == (2, True, 0)
    long = fan_out([0, 0], 1000, line=10, host_line=10, slots=1, random=Random(1))
    assert (len(long.took), long.turned_away, long.given_up) == (1, simulation.ATTEMPTS, 1)


def test_mirrors_share_the_hosts():
    found = spread(10, 3, 100, line=100, host_line=100, slots=MANY, jitter=0, random=Random(1))
    assert [len(each.took) for each in found] == [4, 3, 3]
    assert [each.end for each in found] == pytest.approx([4, 3, 3])
