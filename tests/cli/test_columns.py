"""The columns of a terminal, texts that fit, and tables of them."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.cli.columns import columns, cut, padded, shortened, table


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


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "gpu-host-1.site.example.org  /srv/projects/serving  1.0 KB"),
        (50, "gpu-host-1.site.example.org  /srv/p…erving  1.0 KB"),
        (40, "gpu-host-…mple.org  /srv/p…rving  1.0 KB"),
        (10, "gpu-h….org  /srv/p…rving  1.0 KB"),
    ],
)
def test_a_table_is_as_wide_as_the_terminal_as_long_as_its_columns_keep_their_least(monkeypatch, width, line):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [("gpu-host-1.site.example.org", "/srv/projects/serving", "1.0 KB")]
    head = ("HOST", "PROJECT", "SIZE")
    monkeypatch.setattr(sys, "stdout", Terminal())
    lines = table(head, rows, right={"SIZE"}, least={"PROJECT": 12, "NAME": 20, "HOST": 10})
    assert lines[1] == line
    assert len(lines[0]) == len(line)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert table(head, rows, right={"SIZE"}, least={"PROJECT": 12})[1] == "  ".join(rows[0])
