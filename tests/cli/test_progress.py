"""What a long reading shows: a bar on a terminal, a line elsewhere, nothing for a short one."""

import fcntl
import io
import os
import re
import struct
import termios

import pytest

from model_provisioner.cli.progress import Bars, Lines
from model_provisioner.engine.events import BytesRead, FetchBegins, FetchEnded, FetchReached, ReadingBegins
from tests.support.hub import Hub, slow
from tests.support.project import TINY, Project, settle

LARGE = "models:\n  large:\n    model_ref: file:large.bin\n"


@pytest.fixture
def large(project):
    """A model that takes a second or two, and no disk space."""
    with open(project.root / "large.bin", "wb") as file:
        file.truncate(3 << 30)
    project.models(LARGE)
    settle()
    return project


def shown_by(terminal):
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(terminal)
    return shown.decode()


def on_terminal(project, *args):
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    run = project.start(*args, stderr=end)
    os.close(end)
    return run, terminal


@pytest.mark.slow
@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (24, 0), (0, 0)])
def test_a_terminal_shows_bytes_rate_and_time_left_and_is_clean_afterwards(large, lines, columns):
    """Some terminals do not know how wide they are."""
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    run = large.start("provision", stderr=end)
    os.close(end)
    text = shown_by(terminal)
    out = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 0
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
    os.utime(large.root / "large.bin")  # as a restored cache has it: fingerprinted, and shown alike
    settle()
    assert large.provision().err == "reading large, 3.2 GB\n"


def test_a_short_reading_shows_nothing(project):
    project.add_tiny()
    project.models("models:\n  tiny:\n    model_ref: file:models/tiny.gguf\n")
    assert project.provision().err == ""


def test_lines_tell_now_and_then_how_far_it_is(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines = Lines()
    lines(ReadingBegins("a\x1b[31m", 3_000_000_000))
    for _ in range(3):
        clock[0] += 20
        lines(BytesRead(1_000_000_000))
    lines.close()
    assert capsys.readouterr().err == "reading a\\x1b[31m, 3.0 GB\nread 2.0 GB of 3.0 GB\n"


# ---- fetches


@pytest.fixture
def hub(project, tmp_path):
    """A Hub that takes four seconds for each of two models."""
    with Hub() as hub:
        for name in ("one", "two"):
            hub.add(f"org/{name}", {"x.gguf": TINY.read_bytes() + name.encode().ljust(1000, b".")})
        hub.fault(slow(25_000), on="*/resolve/*")
        project.environ.update(hub.environ(tmp_path / "hf"), HOME=str(tmp_path))
        yield hub


def fetches(project, *names):
    entries = "".join(f"  {name}: {{model_ref: 'hf:org/{name}/x.gguf'}}\n" for name in names)
    project.models(
        "cache_dir: ../cache\nnetwork: {allow: [127.0.0.1]}\n"
        f"defaults: {{handoff: '{{runtime_dir}}/engines/{{name}}.json'}}\nmodels:\n{entries}"
    )


BAR = r"fetching {}: +\d+%\|.*\| \d+(\.\d+)?k/106k \[\d\d:\d\d<\d\d:\d\d, +\d+(\.\d+)?kB/s\]"


@pytest.mark.slow
def test_a_terminal_shows_a_bar_for_each_of_several_fetches(project, hub):
    fetches(project, "one", "two")
    run, terminal = on_terminal(project, "provision", "-n", "2")
    text = shown_by(terminal)
    run.communicate(timeout=60)
    assert run.returncode == 0
    for name in ("one", "two"):
        assert re.search(BAR.format(name), text), text
    between = text[: text.rindex("fetching one")]
    assert "fetching two" in between  # at the same time
    assert "verifying" not in text
    assert text.rsplit("\r", 1)[-1].replace("\x1b[A", "").strip() == ""  # the bars are gone


@pytest.mark.slow
def test_who_waits_for_another_run_sees_how_far_that_is(project, hub):
    fetches(project, "one")
    other = Project(project.root.parent / "other", project.state, project.environ)
    other.root.mkdir()
    fetches(other, "one")
    first = other.start("provision")
    partial = project.root.parent / "cache/partial"
    while not any(re.fullmatch(r"local\.[0-9a-f]{64}\.[0-9a-f]{16}", path.name) for path in partial.glob("*")):
        assert first.poll() is None
    second, terminal = on_terminal(project, "provision")
    text = shown_by(terminal)
    assert first.communicate(timeout=60)[1] == b"fetching one, 106.2 KB from 127.0.0.1\n"
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    found = re.findall(r"another run fetches one: +(\d+)%", text)
    assert found, text
    assert int(found[-1]) > int(found[0])
    assert len(hub.asked(on="*/resolve/*", method="GET")) == 1


@pytest.mark.slow
def test_a_log_has_a_line_for_each_fetch(project, hub):
    fetches(project, "one", "two")
    lines = project.provision().err.splitlines()
    assert sorted(lines) == [f"fetching {name}, 106.2 KB from 127.0.0.1" for name in ("one", "two")]
    assert project.provision().err == ""


def test_lines_of_a_fetch_tell_now_and_then_how_far_it_is(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines, name = Lines(), "a\x1b[31m"
    lines(FetchBegins(name, None, "host\n"))
    for done in (1_000_000, 2_000_000, 3_000_000):
        clock[0] += 20
        lines(FetchReached(name, done, 4_000_000, by_another_run=True))
    clock[0] += 20
    lines(FetchReached(name, 4_000_000, 4_000_000))
    lines(FetchEnded(name))
    assert capsys.readouterr().err == (
        "fetching a\\x1b[31m from host\\n\n"
        "another run fetches a\\x1b[31m: waiting for it\n"
        "fetched 2.0 MB of 4.0 MB: a\\x1b[31m\n"
        "fetched 4.0 MB of 4.0 MB: a\\x1b[31m\n"
    )


def test_a_bar_goes_back_where_a_download_begins_anew(monkeypatch):
    """As it does where the server has another version by now."""
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    monkeypatch.setattr(stream, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr("model_provisioner.cli.progress.BAR_AFTER_SECONDS", -1)
    bars, name = Bars(), "a\x1b"
    bars(FetchBegins(name, 1000, "host"))
    bars(FetchReached(name, 900, 1000))
    assert re.search(r"fetching a\\x1b: +90%\|.*\| 900/1.00k ", stream.getvalue())
    stream.truncate(0)
    bars(FetchReached(name, 100, 1000))
    with bars.aside():
        pass
    assert re.search(r"fetching a\\x1b: +10%\|.*\| 100/1.00k ", stream.getvalue())
    bars(FetchEnded(name))
    shown = stream.getvalue()
    bars(FetchReached(name, 200, 1000))  # a late word of a thread that was given up
    assert stream.getvalue() == shown
