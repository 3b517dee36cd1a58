"""The head of the page: sentence and tiles are of one count."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.cli.report_page.states import STATES
from model_provisioner.cli.report_page.summary import lead, tiles
from tests.support.html import Page


def counts(*numbers):
    return dict(zip(STATES, numbers, strict=True))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0, 0, 0, 0, 0, 0), "models.yaml names no model yet."),
        ((0, 0, 0, 0, 1, 0), "The one model is verified and handed off."),
        ((0, 0, 0, 0, 1200, 0), "All 1,200 models are verified and handed off."),
        ((0, 0, 0, 1, 0, 0), "The one model is in order: 1 verified but not pinned."),
        ((0, 0, 0, 2, 3, 1), "All 6 models are in order: 2 verified but not pinned, 3 verified, 1 retired."),
        ((1, 0, 0, 0, 0, 0), "1 of 1 model needs attention: 1 failed."),
        (
            (3, 1, 5, 12, 38, 1),
            "9 of 60 models need attention: 3 failed, 1 failed but handed off, 5 to be done. "
            "The others are in order: 12 verified but not pinned, 38 verified, 1 retired.",
        ),
    ],
)
def test_how_they_stand_in_a_sentence(numbers, said):
    assert lead(counts(*numbers)).text == said


@given(st.lists(st.integers(0, 2000), min_size=len(STATES), max_size=len(STATES)))
def test_sentence_and_tiles_agree_and_every_model_is_in_one_tile(numbers):
    count = counts(*numbers)
    shown = Page(f"<ul>{tiles(count, 0).text}</ul>")
    told = {
        title.strip(): int(number.replace(",", "")) for number, title in re.findall(r"([\d,]+) ([A-Z]\D+)", shown.words)
    }
    assert sum(told.values()) == sum(numbers)
    assert {state.title: number for state, number in count.items() if number} == {
        title: number for title, number in told.items() if number
    }
    sentence = lead(count).text
    for state, number in count.items():
        if number and number != sum(numbers):
            assert f"{number:,} {state.said}" in sentence


def test_a_tile_leads_to_the_models_of_its_state_if_there_are_any():
    shown = Page(f"<ul>{tiles(counts(2, 0, 0, 0, 1, 0), 10**9).text}</ul>")
    assert shown.words == "2 Failed 0 To be done 0 Verified, not pinned 1 Verified 1.0 GB On the disk"
    assert shown.values("href") == ["#failed", "#verified", "#disk"]
    assert shown.values("id") == ["failed", "verified"]


def test_without_files_there_is_no_tile_of_the_disk():
    assert "disk" not in tiles(counts(1, 0, 0, 0, 0, 0), 0).text
