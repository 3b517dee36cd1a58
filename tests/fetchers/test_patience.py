"""How long a source that can't answer is waited for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from model_provisioner.fetchers.patience import ATTEMPTS, LONGEST, Patience, wait_asked_by
from tests.support.receiving import Naps


def test_the_waits_grow_until_the_tries_end():
    patience = Patience(naps := Naps())
    while patience.allows(None, "busy"):
        pass
    assert patience.tried == ATTEMPTS
    assert len(naps) == ATTEMPTS - 1
    assert all(2**n / 2 <= nap <= 2**n for n, nap in enumerate(naps))


@pytest.mark.parametrize(("asked", "granted"), [([100, 100, 100], 3), ([300, 1], 1), ([301], 0), ([0, 300, 0], 3)])
def test_no_more_is_waited_than_there_is_in_all(asked, granted):
    patience = Patience(naps := Naps())
    assert sum(patience.allows(each, "busy") for each in asked) == granted
    assert sum(naps) <= LONGEST
    patience.begin_anew()
    assert patience.allows(LONGEST, "busy")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";t=55;r=0;pk=:YQ==:'}, 55),
        ({"RateLimit": '"api"; r=0 ; t=55'}, 55),
        ({"RateLimit": '"api";r=10;t=55'}, None),
        ({"RateLimit": '"pages";r=9;t=200, "api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 55),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, None),
        ({"RateLimit": ";" * 100_000}, None),
    ],
)
def test_what_a_response_asks_for(headers, seconds):
    assert wait_asked_by(headers) == seconds


def test_a_date_is_what_is_left_until_then():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 15 < (wait_asked_by({"Retry-After": later}) or 0) <= 20
    assert wait_asked_by({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
