"""The lines on a terminal: drawn anew, put aside, taken off."""

import io
import os
import re
from types import SimpleNamespace

import pytest

from model_provisioner.cli.progress import lines, screen
from model_provisioner.cli.progress.screen import Screen
from model_provisioner.engine.events import BytesRead, FetchWaits, ModelEnded, ReadingBegins, WorkBegins

GB = 10**9


class Terminal(io.StringIO):
    """What is shown on it, by a clock and a width that tests set."""

    columns, rows, now = 80, 24, 0.0

    def fileno(self):
        return 2

    def shown(self):
        """Return its lines, as they are by now."""
        lines, row, column = [""], 0, 0
        for up, erase, end, back, text in re.findall(
            r"\x1b\[(\d+)A|(\x1b\[J)|(\n)|(\r)|([^\x1b\n\r]+)", self.getvalue()
        ):
            if up:
                row -= int(up)
            elif erase:
                lines[row:] = [lines[row][:column]]
            elif end:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif back:
                column = 0
            else:
                lines[row] = lines[row][:column] + text + lines[row][column + len(text) :]
                column += len(text)
        return lines


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    for module in (screen, lines):  # and not the stderr of all: pytest puts its own back after a fixture
        monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=terminal, stdout=io.StringIO()))
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((terminal.columns, terminal.rows)))
    monkeypatch.setattr("time.monotonic", lambda: terminal.now)
    return terminal


@pytest.fixture
def reading(terminal):
    """A screen that shows two models of three."""
    shown = Screen()
    for event in (WorkBegins(3, 3 * GB), ReadingBegins("a", GB), ReadingBegins("b", GB)):
        shown(event)
    terminal.now = 1.0
    for name in "ab":
        shown(BytesRead(GB // 2, name))
        terminal.now += 1.0
    return shown


ALL = [
    "  verifying a  0.5 of 1.0 GB, 250.0 MB/s, 2 s left",
    "  verifying b  0.5 of 1.0 GB, 250.0 MB/s, 2 s left",
    "0 of 3 models, 1.0 of 3.0 GB, 500.0 MB/s, 4 s left",
]


def test_each_model_has_a_line_and_all_have_one(terminal, reading):
    assert terminal.shown() == ALL


def test_it_is_not_drawn_more_often_than_one_can_see(terminal, reading):
    before = terminal.getvalue()
    terminal.now -= 0.95
    reading(BytesRead(1, "a"))
    assert terminal.getvalue() == before


def test_what_is_done_leaves(terminal, reading):
    reading(ModelEnded("a"))
    assert terminal.shown() == [
        ALL[1].replace("250.0", "166.7").replace("2 s", "3 s"),
        "1 of 3 models, 1.0 of 3.0 GB, 333.3 MB/s, 6 s left",
    ]


def test_lines_are_put_aside_while_something_else_is_printed(terminal, reading):
    with reading.aside():
        terminal.write("warn  c  hashed\n")
    assert terminal.shown()[0] == "warn  c  hashed"
    assert len(terminal.shown()) == 4


def test_a_wait_is_a_line_that_stays(terminal, reading):
    reading(FetchWaits("c", 20, "503"))
    assert terminal.shown()[0] == "waiting 20 s to ask again for c: 503"


def test_it_leaves_a_clean_screen(terminal, reading):
    reading.close()
    assert terminal.shown() == [""]


def test_lines_that_a_narrower_terminal_broke_are_taken_off_whole(terminal, reading):
    terminal.columns = 30
    terminal.now += 1.0
    reading(BytesRead(1, "a"))
    assert "\r\x1b[5A\x1b[J" in terminal.getvalue()  # two rows each


def test_a_low_terminal_shows_some_and_says_how_many_more(terminal):
    terminal.rows = 5
    shown = Screen()
    shown(WorkBegins(6, 6 * GB))
    for name in "abcdef":
        shown(ReadingBegins(name, GB))
    terminal.now = 1.0
    for name in "abcdef":
        shown(BytesRead(1000, name))
        terminal.now += 1.0
    assert len(terminal.shown()) == 5
    assert terminal.shown()[3] == "  and 3 more"


def test_what_takes_no_time_is_not_shown(terminal):
    shown = Screen()
    for event in (WorkBegins(1, GB), ReadingBegins("a", GB), BytesRead(GB, "a")):
        shown(event)
    shown.close()
    assert terminal.getvalue() == ""


def test_of_what_is_read_elsewhere_it_is_shown_for_how_long(terminal):
    """A worker tells of a file when it has read it all."""
    shown = Screen()
    for event in (WorkBegins(1, 200 * GB), ReadingBegins("a", 200 * GB)):
        shown(event)
    terminal.now = 4.0
    shown(BytesRead(0, "a"))
    assert terminal.getvalue() == ""
    terminal.now = 6.0
    shown(BytesRead(0, "a"))
    assert terminal.shown() == ["  verifying a  200.0 GB, 6 s so far"]
    terminal.now = 720.0
    shown(BytesRead(0, "a"))
    assert terminal.shown() == ["  verifying a  200.0 GB, 12 min so far"]
