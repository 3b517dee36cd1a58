"""Sizes and ages as people write them, and nothing that only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.units import duration, parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (200_000_000_000, 200_000_000_000),
        ("0B", 0),
        ("12 B", 12),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("200GB", 200_000_000_000),
        ("200 GB", 200_000_000_000),
        ("1.5 GiB", 3 << 29),
        ("0.1TB", 100_000_000_000),
        ("2.5TiB", 5 << 39),
        ("1.0000000000000000001GB", 1_000_000_000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        None,
        True,
        -1,
        1.5,
        [],
        "",
        "5",
        "GB",
        "1 gb",
        "1G",
        "-1GB",
        "1,5GB",
        "1.GB",
        ".5GB",
        "1  GB",
        "1GB\n",
        "1EB",
        "1iB",
        "٣GB",
    ],
)
def test_what_is_no_size(text):
    assert parse_size(text) is None


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(["K", "M", "G", "T"]))
def test_a_size_is_exact(whole, part, unit):
    base = 1000 ** (" KMGT".index(unit))
    assert parse_size(f"{whole}.{part:03}{unit}B") == whole * base + part * base // 1000


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90m", 5400), ("36h", 129600), ("30d", 2592000), ("2w", 1209600)]
)
def test_ages(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1 d", "30D", "1y", "1d\n", "٣d"])
def test_what_is_no_age(text):
    assert parse_age(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (13, "13 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (7800, "2 h 10 min")],
)
def test_times_are_told_in_words(seconds, text):
    assert duration(seconds) == text
