"""What a long reading shows: a bar on a terminal, a line elsewhere, nothing for a short one."""

import fcntl
import os
import re
import struct
import termios

import pytest

from model_provisioner.plugin.progress import Lines
from tests.support.project import settle

LARGE = "models:\n  large:\n    model_ref: file:large.bin\n"


@pytest.fixture
def large(project):
    """A model that takes a second or two, and no disk space."""
    with open(project.root / "large.bin", "wb") as file:
        file.truncate(3 << 30)
    project.models(LARGE)
    settle()
    return project


@pytest.mark.slow
@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (24, 0), (0, 0)])
def test_a_terminal_shows_bytes_rate_and_time_left_and_is_clean_afterwards(large, lines, columns):
    """Some terminals do not know how wide they are."""
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    run = large.start("provision", stderr=end)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(terminal)
    out = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 0
    text = shown.decode()
    assert re.search(
        r"verifying: +\d+%\|.*\| \d+(\.\d+)?[MG]/3\.22G \[\d\d:\d\d<\d\d:\d\d, +\d+(\.\d+)?[MG]B/s\]", text
    ), text
    assert text.rsplit("\r", 1)[-1].strip() == ""  # the bar is gone
    assert "1 model: 1 done" in out
    assert "verifying" not in out


@pytest.mark.slow
def test_a_log_shows_a_line(large):
    assert large.provision().err == "reading large, 3.2 GB\n"
    assert large.provision().err == ""


def test_a_short_reading_shows_nothing(project):
    project.add_tiny()
    project.models("models:\n  tiny:\n    model_ref: file:models/tiny.gguf\n")
    assert project.provision().err == ""


def test_lines_tell_now_and_then_how_far_it_is(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines = Lines()
    lines.begin("a\x1b[31m", 3_000_000_000)
    for _ in range(3):
        clock[0] += 20
        lines.advance(1_000_000_000)
    lines.close()
    assert capsys.readouterr().err == "reading a\\x1b[31m, 3.0 GB\nread 2.0 GB of 3.0 GB\n"
