"""A wait for a lock that takes long is told once, with who holds the lock, and what the listener raises is not lost."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from model_provisioner.fs.locking import holder as module
from model_provisioner.fs.locking import waits
from model_provisioner.fs.locking.holder import Holder, holder_of
from model_provisioner.fs.locking.locks import lock
from model_provisioner.fs.locking.waits import waits_told

HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Let another process hold the lock of a file or folder until its input ends."""
    begun = []

    def hold(path, *words):
        script = tmp_path / "model-provisioner"
        script.write_text(HOLD)
        process = subprocess.Popen(
            [sys.executable, script, path, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in begun:
        process.kill()
        with process:  # closes its pipes and waits for it
            pass


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(waits, "AFTER_S", 0.05)
    events = []
    with waits_told(lambda *told: events.append(told)):
        yield events


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x").touch()
    return str(tmp_path / "x")


def wait_for(path, told, *, then):
    """Wait for the lock of a file in a thread; call `then` when that was told."""
    fd = os.open(path, os.O_RDWR)
    thread = threading.Thread(target=lock, args=(fd, path), daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not told and time.monotonic() < end:
        time.sleep(0.01)
    then()
    thread.join(timeout=20)
    assert not thread.is_alive()
    os.close(fd)


def test_a_long_wait_is_told_once_with_the_process_that_holds_the_lock(hold, told, path):
    process = hold(path)

    def end():
        time.sleep(0.2)
        process.stdin.close()

    wait_for(path, told, then=end)
    # Of the command line, its words up to the first that may be a secret: here a path.
    assert told == [(path, Holder(process.pid, "model-provisioner", is_stopped=False))]


def test_a_short_wait_is_not_told(told, path, monkeypatch):
    monkeypatch.setattr(waits, "AFTER_S", 1.0)
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    other = os.open(path, os.O_RDWR)
    threading.Timer(0.05, os.close, [fd]).start()
    lock(other, path)
    os.close(other)
    assert told == []


def test_a_stopped_process_is_told_as_stopped(hold, path):
    process = hold(path)
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    found = holder_of(os.stat(path))
    assert found == Holder(process.pid, "model-provisioner", is_stopped=True)
    process.send_signal(signal.SIGCONT)  # the fix, tried
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_a_lock_of_a_folder_and_one_of_this_process_have_a_holder_too(hold, tmp_path, path):
    process = hold(str(tmp_path))
    assert holder_of(os.stat(tmp_path)).pid == process.pid
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert holder_of(os.stat(path)).pid == os.getpid()
    os.close(fd)
    assert holder_of(os.stat(path)) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["/usr/bin/python3.11", "/usr/bin/doit", "provision", "tiny", "-q"], "doit provision tiny -q"),
        (["python", "-m", "model_provisioner", "verify", "--full"], "python -m model_provisioner verify"),
        (["model-provisioner", "add", "https://user:secret@host/x.gguf"], "model-provisioner add"),
        (["model-provisioner", "add", "--token=secret"], "model-provisioner add"),
        ([""], ""),
    ],
)
def test_no_word_is_told_that_may_be_a_secret(monkeypatch, line, words):
    files = {"/proc/7/cmdline": "\0".join(line) + "\0", "/proc/7/stat": "7 (a) b) S 1 7 7"}
    monkeypatch.setattr(module, "_read", lambda path: files.get(path, ""))
    assert module._process(7) == Holder(7, words, is_stopped=False)
    assert module._process(8) is None  # it is not seen from here


def test_a_file_of_the_same_number_on_another_disk_is_another(monkeypatch, path):
    found = os.stat(path)
    line = f"1: FLOCK  ADVISORY  WRITE {os.getpid()} 00:00:{found.st_ino} 0 EOF\n"
    monkeypatch.setattr(module, "_read", lambda name: line if name == "/proc/locks" else "7 (a) S 1")
    assert holder_of(found) is None
    fd = os.open(path, os.O_RDONLY)
    assert (
        holder_of(found).pid == os.getpid()
    )  # it has the file open: the number of its disk is told otherwise, as of btrfs
    os.close(fd)


def test_what_the_listener_raises_comes_out_of_the_wait(hold, path, monkeypatch):
    monkeypatch.setattr(waits, "AFTER_S", 0.05)
    process = hold(path)
    threading.Timer(0.4, process.stdin.close).start()
    fd = os.open(path, os.O_RDWR)

    def stop(path, holder):
        raise KeyboardInterrupt

    with waits_told(stop), pytest.raises(KeyboardInterrupt):
        lock(fd, path)
    os.close(fd)
