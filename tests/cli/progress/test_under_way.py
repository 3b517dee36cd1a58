"""What is under way, as a run's events tell, and the lines that say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.cli.columns import columns
from model_provisioner.cli.progress.under_way import UnderWay, line_of
from model_provisioner.engine.events import (
    BytesRead,
    FetchBegins,
    FetchEnded,
    FetchReached,
    ModelEnded,
    ReadingBegins,
    WorkBegins,
)

GB = 10**9


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_models_bytes_rate_and_time_left_of_all_are_told(clock):
    under_way = UnderWay()
    for event in (WorkBegins(4, 9_800_000_000), ReadingBegins("a", 2 * GB), ReadingBegins("b", 2 * GB)):
        under_way.take(event)
    clock[0] = 2.0
    under_way.take(BytesRead(2 * GB, "a"))
    under_way.take(ModelEnded("a"))
    clock[0] = 4.0
    under_way.take(BytesRead(GB, "b"))
    assert under_way.told == "1 of 4 models, 3.0 of 9.8 GB, 750.0 MB/s, 9 s left"
    assert [*under_way.parts] == ["b"]


def test_what_is_fetched_counts_as_soon_as_its_size_is_known(clock):
    under_way = UnderWay()
    for event in (WorkBegins(2, GB), FetchBegins("far", None, "host"), FetchReached("far", 0, 3 * GB)):
        under_way.take(event)
    clock[0] = 1.0
    under_way.take(FetchReached("far", GB, 3 * GB))
    assert under_way.told == "0 of 2 models, 1.0 of 3.0 GB, 1.0 GB/s, 2 s left"


def test_of_one_model_no_count_is_told(clock):
    under_way = UnderWay()
    under_way.take(WorkBegins(1, GB))
    clock[0] = 1.0
    under_way.take(BytesRead(GB // 2))
    assert under_way.told == "0.5 of 1.0 GB, 500.0 MB/s, 1 s left"


def test_a_download_that_begins_anew_goes_back(clock):
    under_way = UnderWay()
    under_way.take(FetchBegins("a", 1000, "host"))
    clock[0] = 1.0
    under_way.take(FetchReached("a", 900, 1000))
    clock[0] = 2.0
    under_way.take(FetchReached("a", 100, 1000))
    assert under_way.parts["a"].told.startswith("0.1 of 1.0 KB")
    under_way.take(FetchEnded("a"))
    under_way.take(FetchReached("a", 200, 1000))  # a late word of a thread that was given up
    assert under_way.parts == {}


def test_a_name_is_shortened_before_what_is_told_of_it(clock):
    under_way = UnderWay()
    under_way.take(ReadingBegins("a-model-with-a-rather-long-name-Q4_K_M", 2 * GB))
    clock[0] = 1.0
    under_way.take(BytesRead(GB, "a-model-with-a-rather-long-name-Q4_K_M"))
    ((name, part),) = under_way.parts.items()
    assert line_of(name, part, 60) == "  verifying a-mode…Q4_K_M  1.0 of 2.0 GB, 1.0 GB/s, 1 s left"


@given(st.text(min_size=1, max_size=40), st.integers(20, 100))
def test_a_line_fits_whatever_the_name_is(name, width):
    under_way = UnderWay()
    under_way.take(ReadingBegins(name, GB))
    assert columns(line_of(name, under_way.parts[name], width)) <= width
