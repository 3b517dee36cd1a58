"""Another host on a shared store, whose locks do not reach us: it may fetch, use and evict, and ours stays ours.

Two real mounts of one folder whose flock do not meet, two starts of the machine, a real Hub that sends slowly.
"""

import hashlib
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path


import pytest

from tests.support import hosts
from tests.support.hub import Hub, slow
from tests.support.project import TINY
from tests.support.remote import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hosts.CAN, reason=hosts.WHY_NOT)]

LARGE = TINY.read_bytes() + b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))
"""3.3 MB, of which no two parts are alike."""
SMALL = TINY.read_bytes() + b"small".ljust(1000, b".")
RATE = 60_000
"""Bytes a second, until a test lets the rest come: most of a minute, on a busy machine."""
DEAD = "which counts as dead once it has renewed nothing for 10 minutes"


@pytest.fixture
def go():
    """When set, what was slow comes at once."""
    return threading.Event()


@pytest.fixture
def hub(go):
    with Hub() as hub:
        hub.add("org/l", {"x.gguf": LARGE})
        hub.add("org/s", {"x.gguf": SMALL})
        hub.fault(slow(RATE, until=go), on="*/l/resolve/*")
        yield hub


@pytest.fixture
def two(tmp_path, hub):
    with hosts.two_hosts(tmp_path, hub.environ(tmp_path / "hf")) as two:
        yield two


@pytest.fixture
def a(two):
    return two[0]


@pytest.fixture
def b(two):
    return two[1]


@pytest.fixture
def shared(two):
    return two[2]


def downloads(shared: Path) -> list[Path]:
    """Return the files that are on their way, the oldest first."""
    found = [path for path in shared.glob("partial/*.*.*") if path.suffix != ".json"]
    return sorted(found, key=lambda path: path.stat().st_ctime)


def fetching(host, shared, *, beside=0, size=150_000) -> tuple[subprocess.Popen, Path]:
    """Let a host begin to fetch, and return when some of it has come: the run, and its growing file."""
    before = set(downloads(shared))
    run = host.start("provision")

    def grown():
        assert run.poll() is None, host.end(run)
        found = downloads(shared)
        mine.clear()
        with suppress(FileNotFoundError):  # a small file may be there by now
            mine[:] = [path for path in found if path not in before and path.stat().st_size > size]
        return mine if len(found) == beside + 1 else []

    mine: list[Path] = []
    wait_until(grown)
    return run, mine[0]


def killed(run: subprocess.Popen) -> None:
    run.send_signal(signal.SIGKILL)
    run.communicate()


def sound(shared: Path) -> list[bytes]:
    """Return the blobs of the store, each of which is that of its name."""
    found = [path.read_bytes() for path in sorted(shared.glob("blobs/sha256/*/*"))]
    names = [path.name for path in sorted(shared.glob("blobs/sha256/*/*"))]
    assert names == [hashlib.sha256(data).hexdigest() for data in found]
    return found


def test_a_second_host_begins_its_own_file_while_the_first_grows(a, b, shared, go):
    a.models("l")
    b.models("l")
    run, mine = fetching(a, shared)
    other, its = fetching(b, shared, beside=1)
    assert mine != its
    killed(other)
    left = its.stat()
    go.set()
    assert a.end(run).code == 0
    assert a.handed_off("l") == LARGE
    assert sound(shared) == [LARGE]
    assert (its.stat().st_ino, its.stat().st_mtime_ns) == (left.st_ino, left.st_mtime_ns)
    b.doit("provision")
    assert b.handed_off("l") == LARGE


def test_both_arrive_and_one_file_stays(a, b, shared, go):
    a.models("l")
    b.models("l")
    runs = [fetching(a, shared)[0], fetching(b, shared, beside=1)[0]]
    go.set()
    assert [host.end(run).code for host, run in zip((a, b), runs, strict=True)] == [0, 0]
    assert a.handed_off("l") == b.handed_off("l") == LARGE
    assert sound(shared) == [LARGE]
    assert downloads(shared) == []


def test_what_a_killed_host_left_is_resumed_by_itself_alone(a, b, shared, hub, go):
    a.models("l")
    b.models("l")
    run, left = fetching(a, shared)
    killed(run)
    before = left.stat()
    hub.forget()
    other, its = fetching(b, shared, beside=1)
    killed(other)
    assert its != left
    assert [request.headers.get("range") for request in hub.asked("GET", "*/resolve/*")] == [None]
    assert (left.stat().st_size, left.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    hub.forget()
    go.set()
    a.doit("provision")
    (again,) = hub.asked("GET", "*/resolve/*")
    assert (
        again.headers["range"] == f"bytes={before.st_size - 1}-"
    )  # with a byte that it has, to see that it is the same
    assert sound(shared) == [LARGE]
    assert downloads(shared) == [its]


def test_after_another_start_of_the_machine_nothing_is_taken_over(a, shared, hub, go):
    a.models("l")
    run, left = fetching(a, shared)
    killed(run)
    a.restart()
    go.set()
    hub.forget()
    a.doit("provision")
    assert [request.headers.get("range") for request in hub.asked("GET", "*/resolve/*")] == [None]
    assert downloads(shared) == [left]
    assert sound(shared) == [LARGE]


def test_what_another_host_uses_or_fetches_stays(a, b, shared, go):
    a.models("sl")
    b.models("")
    run, mine = fetching(a, shared)
    assert sound(shared) == [SMALL]
    b.doit("model-prune", "--older-than", "0s")
    assert b.held() == {
        "hf:org/s/x.gguf": f"in use by a run of another host, {DEAD}",
        "hf:org/l/x.gguf": f"being fetched by another host, {DEAD}",
    }
    b.let_pass(700)  # and it was renewed meanwhile, or grew
    for path in [*shared.glob("leases/*"), mine]:
        os.utime(path)
    time.sleep(1.5)  # the other mount may show a time that is a second old: of ten minutes, not of none
    b.doit("model-prune", "--older-than", "0s")
    go.set()
    assert a.end(run).code == 0
    assert (a.handed_off("s"), a.handed_off("l")) == (SMALL, LARGE)
    b.let_pass(700)
    b.doit("model-prune", "--older-than", "0s")
    assert b.held() == {f"hf:org/{name}/x.gguf": f"used by a, {a.project}/models.yaml" for name in "ls"}


def test_room_is_not_made_by_what_another_host_uses(a, b, shared, go):
    a.models("sl")
    run, _ = fetching(a, shared)
    b.models("l", "cache: {max_size: 3.4MB}\n")
    said = b.doit("provision", code=1).all
    assert f"106.2 KB hf:org/s/x.gguf: in use by a run of another host, {DEAD}" in said
    go.set()
    assert a.end(run).code == 0
    assert (a.handed_off("s"), a.handed_off("l")) == (SMALL, LARGE)


def test_what_a_dead_host_used_and_fetched_goes_after_ten_minutes(a, b, shared, go):
    a.models("sl")
    b.models("")
    run, left = fetching(a, shared)
    killed(run)
    b.doit("model-prune", "--older-than", "0s")
    b.let_pass(500)
    b.doit("model-prune", "--older-than", "0s")
    assert sound(shared) == [SMALL]
    b.let_pass(100)
    b.doit("model-prune", "--older-than", "0s")
    assert sound(shared) == []
    assert downloads(shared) == []
    go.set()
    a.doit("provision")
    assert (a.handed_off("s"), a.handed_off("l")) == (SMALL, LARGE)
