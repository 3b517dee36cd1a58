"""The columns of a terminal, and texts that fit."""

from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.cli.columns import columns, cut, padded, shortened


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert [columns(text) for text in ("abc", "模型", "e\u0301")] == [3, 4, 1]


def test_a_name_loses_its_middle():
    assert shortened("a-model-of-some-length-Q4_K_M", 16) == "a-model-…-Q4_K_M"
    assert shortened("short", 16) == "short"


@given(st.text(max_size=60), st.integers(8, 70))
def test_what_is_shortened_fits_in_the_columns_that_it_has(text, width):
    assert columns(shortened(text, width)) <= width
    assert columns(text) > width or shortened(text, width) == text


@given(st.text(max_size=20), st.integers(0, 30))
def test_what_is_cut_is_the_beginning(text, width):
    assert text.startswith(cut(text, width))
    assert columns(cut(text, width)) <= width


@given(st.text(max_size=20), st.booleans())
def test_what_is_padded_has_its_width(text, right):
    assert columns(padded(text, 50, right=right)) == 50
