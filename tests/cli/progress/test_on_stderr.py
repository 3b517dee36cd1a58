"""What a long reading or fetch shows on stderr: lines that move on a terminal, a line now and then elsewhere."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import threading

import pytest

from model_provisioner.cli.progress.lines import LONG_BYTES, Lines
from model_provisioner.cli.progress.screen import Screen
from model_provisioner.engine.events import BytesRead, FetchBegins, FetchEnded, FetchReached, LockWaits, ReadingBegins
from model_provisioner.fs.locking import waits
from model_provisioner.fs.locking.holder import Holder
from tests.support.hub import Hub, slow
from tests.support.project import DODO, TINY, Project, document, settle
from tests.support.slow_disk import SlowDisk

LARGE = "models:\n  large:\n    model_ref: file:large.bin\n"


@pytest.fixture
def large(project):
    """A model that a log names, for its size, and no disk space."""
    with open(project.root / "large.bin", "wb") as file:
        file.truncate(LONG_BYTES)
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
    os.truncate(large.root / "large.bin", 50 << 20)
    SlowDisk(large, 0.05)
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    run = large.start("provision", stderr=end)
    os.close(end)
    text = shown_by(terminal)
    out = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 0
    assert re.search(r"  verifying large  \d+\.\d of 52\.4 MB, \d+\.\d [MG]B/s, \d+ s left\r", text), text
    assert text.endswith("\r\x1b[J")  # the line is gone
    assert "1 model: 1 done" in out
    assert "verifying" not in out


@pytest.mark.slow
def test_a_log_shows_a_line(large):
    assert large.provision().err == "reading large, 268.4 MB\n"
    assert large.provision().err == ""
    os.utime(large.root / "large.bin")  # as a restored cache has it: fingerprinted, and shown alike
    settle()
    assert large.provision().err == "reading large, 268.4 MB\n"


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


def test_lines_tell_for_how_long_nothing_came(capsys, monkeypatch):
    """A worker tells of a file when it has read it all."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines = Lines()
    lines(ReadingBegins("a", 200_000_000_000))
    for second, count in ((20, 0), (40, 0), (720, 0), (721, 200_000_000_000), (760, 0)):
        clock[0] = second
        lines(BytesRead(count))
    assert capsys.readouterr().err == (
        "reading a, 200.0 GB\n"
        "read 0 bytes of 200.0 GB, nothing new for 40 s\n"
        "read 0 bytes of 200.0 GB, nothing new for 12 min\n"
        "read 200.0 GB of 200.0 GB, nothing new for 39 s\n"
    )


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


LINE = r"  fetching {}  \d+\.\d of 106\.2 KB, \d+\.\d KB/s, \d+ s left\r"


@pytest.mark.slow
def test_a_terminal_shows_a_line_for_each_of_several_fetches_and_one_for_all(project, hub):
    fetches(project, "one", "two")
    run, terminal = on_terminal(project, "provision", "-n", "2")
    text = shown_by(terminal)
    run.communicate(timeout=60)
    assert run.returncode == 0
    for name in ("one", "two"):
        assert re.search(LINE.format(name), text), text
    assert re.search(r"\n0 of 2 models, \d+\.\d of 212\.5 KB, \d+\.\d KB/s, \d+ s left\r", text), text
    between = text[: text.rindex("fetching one")]
    assert "fetching two" in between  # at the same time
    assert "verifying" not in text
    assert text.endswith("\x1b[J")  # the lines are gone


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
    found = re.findall(r"waiting for another run to fetch one  (\d+\.\d) of 106\.2 KB", text)
    assert found, text
    assert float(found[-1]) > float(found[0])
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


# ---- an end before the end


@pytest.mark.slow
def test_an_interrupt_leaves_a_clean_screen_and_says_that_downloads_are_resumed(project, hub):
    fetches(project, "one")
    run, terminal = on_terminal(project, "provision")
    shown = b""
    while b"fetching one" not in shown:
        shown += os.read(terminal, 4096)
    run.send_signal(signal.SIGINT)
    text = shown_by(terminal)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert text.rpartition("\x1b[J")[2] == (
        "interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run\r\n"
    )


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once_and_without_a_traceback():
    """Whatever the first one waits for."""
    program = """
        import os, signal, threading, time
        from model_provisioner.cli.exit_codes import exit_code_of
        def command():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            finally:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                time.sleep(60)
        exit_code_of(command, interrupted="interrupted")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "\n")


@pytest.mark.slow
def test_a_terminal_that_can_not_go_back_has_lines_as_a_log_has(large):
    large.environ["TERM"] = "dumb"
    run, terminal = on_terminal(large, "provision")
    assert shown_by(terminal) == "reading large, 268.4 MB\r\n"
    run.communicate(timeout=60)


HOLD = """
import fcntl, os, sys
for path in sys.argv[1:]:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(project, monkeypatch):
    """A project with work to do, and a process that holds the locks of its handoffs for a while; return the process."""
    project.add_tiny()
    project.models("models:\n  tiny:\n    model_ref: file:models/tiny.gguf\n")
    project.provision()
    (project.root / ".runtime/engines/llamacpp.json").unlink()
    locks = [str(path) for path in (project.state / "locks/handoff").iterdir()]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    monkeypatch.setattr(waits, "AFTER_S", 0.1)
    timer = threading.Timer(0.8, process.stdin.close)
    timer.start()
    yield process, locks[0]
    timer.join()
    process.kill()
    with process:
        pass


@pytest.mark.parametrize("face", ["doit", "program"])
def test_a_command_that_waits_for_another_says_once_for_which(project, held, face):
    process, path = held
    answer = getattr(project, face)("provision")
    python = os.path.basename(sys.executable)
    assert answer.err == f"waiting for process {process.pid} ({python} -c), which holds the lock of {path}\n"
    assert "1 model: 1 done" in answer.out


def test_a_task_of_plain_doit_says_it_too(project, held):
    project.write("dodo.py", DODO)
    assert f"waiting for process {held[0].pid} " in project.doit("run").err


@pytest.mark.parametrize("face", ["doit", "program"])
def test_a_document_stays_one_where_a_command_waits(project, held, face):
    answer = getattr(project, face)("provision", "--json")
    assert document(answer)["exit_code"] == 0
    assert answer.err.startswith("waiting for process ")


@pytest.mark.parametrize(
    ("holder", "line"),
    [
        (None, "waiting for another program, which holds the lock of /l\n"),
        (
            Holder(5, "x", is_stopped=False),
            "waiting for another thread of this program, which holds the lock of /l\n",
        ),
        (Holder(7, "", is_stopped=False), "waiting for process 7, which holds the lock of /l\n"),
        (
            Holder(7, "doit \x1b", is_stopped=True),
            "waiting for process 7 (doit \\x1b), which holds the lock of /l; it is stopped: `kill -CONT 7` lets it go on\n",
        ),
    ],
)
@pytest.mark.parametrize("shown", [Lines, Screen])
def test_who_holds_a_lock_is_said_as_far_as_it_is_known(capsys, monkeypatch, holder, line, shown):
    monkeypatch.setattr("os.getpid", lambda: 5)
    shown()(LockWaits("/l", holder))
    assert capsys.readouterr().err == line
