"""Who comes at the same time, and who dies: one fetches, and the next run puts it right."""

import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.support import hub as faults
from tests.support.project import AT_ONCE, wait_for_handlers
from tests.support.remote import ONE, REPO, TINY_BYTES, resolved, sha256, wait_until


@pytest.mark.slow
def test_two_runs_at_once_fetch_once(tiny, hub, tmp_path):
    hub.fault(faults.slow(100_000), on="*/resolve/*", method="GET")
    runs = [tiny.project.start("provision") for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (out, err)
    assert resolved(hub) == ["tiny.gguf"]
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.on_the_way() == []


@pytest.mark.slow
def test_two_projects_at_once_fetch_once(tiny, hub, tmp_path):
    from tests.support.project import Project

    other = Project(tmp_path / "other", tmp_path / "other state", tiny.environ)
    other.root.mkdir()
    other.models((tiny.root / "models.yaml").read_text())
    hub.fault(faults.slow(100_000), on="*/resolve/*", method="GET")
    runs = [project.start("provision") for project in (tiny.project, other)]
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (out, err)
    assert resolved(hub) == ["tiny.gguf"]
    assert tiny.project.handoff("tiny") and other.handoff("tiny")


@pytest.mark.slow
def test_what_ctrl_c_leaves_of_a_secure_download_is_its_beginning(remote, web):
    """No digest is known, so that nothing else would tell that other bytes are between those of the file."""
    web.files["/tiny.bin"] = bytes(128 << 20)
    remote.models({"tiny": {"model_ref": web.url("/tiny.bin"), "engine": "any"}})
    with remote.project.start_program("provision") as run:
        wait_until(lambda: received(remote) > 8 << 20 or run.poll() is not None)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert run.returncode == 130
    assert 0 < received(remote) < 128 << 20
    remote.provision()
    assert "range" in web.asked[-1].headers
    assert remote.blobs() == {sha256(web.files["/tiny.bin"])}


def received(remote):
    """Return the bytes of the largest file that is on its way."""
    folder = remote.cache / "partial"
    return max((path.stat().st_size for path in folder.glob("*")), default=0)


@pytest.mark.slow
def test_threads_of_one_run_fetch_the_same_bytes_once(remote, hub):
    hub.add("org/tiny", REPO)
    hub.fault(faults.slow(100_000), on="*/resolve/*", method="GET")
    remote.models({f"m{number}": f"hf:org/tiny@{ref}/tiny.gguf" for number, ref in enumerate(["main", commit_of(hub)])})
    remote.provision("-n", "2")
    assert resolved(hub) == ["tiny.gguf"]
    assert remote.bytes_of("m0") == remote.bytes_of("m1") == TINY_BYTES


def commit_of(hub):
    return hub.references["org/tiny"]["main"]


@pytest.mark.slow
def test_the_death_of_who_fetches_frees_who_waits(tiny, hub):
    hub.fault(faults.slow(60_000), on="*/resolve/*", method="GET")
    first = tiny.project.start("provision")
    wait_until(lambda: arrived(tiny) > 30_000)
    second = tiny.project.start("provision")
    wait_for_handlers(second)
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, (out, err)
    assert tiny.bytes_of("tiny") == TINY_BYTES
    asked = hub.asked("GET", "*/resolve/*")
    assert len(asked) == 2
    assert "range" in asked[1].headers
    assert tiny.on_the_way() == []


def arrived(remote):
    folder = remote.cache / "partial"
    sizes = [0]
    for name in remote.on_the_way():
        if re.fullmatch(r"local\.[0-9a-f]{64}\.[0-9a-f]{16}", name):
            try:
                sizes.append((folder / name).stat().st_size)
            except FileNotFoundError:
                pass
    return max(sizes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_an_interrupted_fetch_ends_soon_and_is_resumed(tiny, hub, number, workers):
    hub.fault(faults.slow(10_000), on="*/resolve/*", method="GET")
    with tiny.project.start("provision", *workers) as run:
        wait_until(lambda: arrived(tiny) > 10_000)
        run.send_signal(number)
        began = time.monotonic()
        _, err = run.communicate(timeout=60)
    assert time.monotonic() - began < AT_ONCE
    assert run.returncode == 130
    assert err.decode().endswith(
        "interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run\n"
    )
    assert tiny.project.handoff("tiny") is None
    kept = arrived(tiny)
    assert 10_000 < kept < len(TINY_BYTES)
    hub.heal()
    hub.forget()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert [request.headers["range"] for request in hub.asked("GET", "*/resolve/*")] == [f"bytes={kept - 1}-"]
    assert hub.asked(on="/api/*") != []


@pytest.mark.slow
def test_an_interrupt_while_another_fetches_ends_the_wait(tiny, hub):
    hub.fault(faults.slow(10_000), on="*/resolve/*", method="GET")
    with tiny.project.start("provision") as first:
        wait_until(lambda: arrived(tiny) > 0)
        with tiny.project.start("provision") as second:
            wait_for_handlers(second)
            second.send_signal(signal.SIGINT)
            began = time.monotonic()
            second.communicate(timeout=30)
            assert time.monotonic() - began < AT_ONCE
            assert second.returncode == 130
            assert first.poll() is None
        first.communicate(timeout=60)
        assert first.returncode == 0
    assert resolved(hub) == ["tiny.gguf"]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.long)])
def test_a_kill_at_any_moment_of_a_fetch_is_mended_by_the_next_run(remote, hub, kills):
    """Many kills, some runs after several of them: the bytes are right in the end, and nothing lies around."""
    hub.add("org/tiny", REPO)
    remote.models({"tiny": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    hub.fault(faults.slow(400_000), on="*/resolve/*", method="GET")
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    fetching = 0
    for kill in range(kills):
        run = remote.project.start("provision", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if chance.random() < 0.7:
            try:
                wait_until(lambda: (remote.cache / "partial").exists() or run.poll() is not None)
            finally:
                time.sleep(chance.random() * 0.3)
        else:
            time.sleep(chance.random() * 0.6)
        fetching += run.poll() is None and remote.on_the_way() != []
        run.kill()
        run.wait()
        remote.blobs()  # each of them is whole
        handoff = remote.project.handoff("tiny")
        assert handoff is None or remote.bytes_of("tiny") == REPO
        if chance.random() < 0.5 or handoff is not None or kill == kills - 1:
            remote.provision()
            assert remote.bytes_of("tiny") == REPO, f"seed {seed}, kill {kill}"
            left = [name for name in remote.on_the_way() if not name.startswith(("draft.", "tree."))]
            assert left == [], f"seed {seed}, kill {kill}"
            remote.empty_cache()
            shutil.rmtree(remote.root / ".runtime", ignore_errors=True)
    assert fetching >= kills // 10, "the kills came at the wrong time"


def test_what_a_kill_may_leave_goes_after_a_week(tiny, hub):
    tiny.provision()
    partial = tiny.cache / "partial"
    (partial / "draft.0011223344556677").write_bytes(b"{")
    (partial / "tree.0011223344556677").mkdir()
    (partial / f"{'a' * 64}.0011223344556677").write_bytes(b"half")
    (partial / f"{'a' * 64}.0011223344556677.json").write_bytes(b"{}")
    long_ago = time.time() - 8 * 24 * 3600
    for path in partial.iterdir():
        os.utime(path, (long_ago, long_ago))
    # A change of the times is a change of ctime, which only time itself moves back.
    hub.add("org/next", {"next.gguf": TINY_BYTES + b"\0" * 32})
    tiny.models({"tiny": ONE, "next": "hf:org/next/next.gguf"})
    tiny.provision(code=None)
    assert [name for name in tiny.on_the_way() if not name.startswith("tree.")] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["provision", "-n", "1"], ["provision", "-n", "2"], ["model-lock"]])
@pytest.mark.parametrize("where", ["/api/*/tree/*", "*/resolve/*"])
def test_an_interrupt_is_answered_while_servers_are_silent(remote, hub, number, command, where):
    """Nothing comes, on any of several connections, and nobody waits for it."""
    for name in ("one", "two", "three"):
        hub.add(f"org/{name}", {f"{name}.gguf": TINY_BYTES + name.encode()})
    remote.models({name: f"hf:org/{name}/{name}.gguf" for name in ("one", "two", "three")})
    hub.fault(faults.stall(after=0.5), on=where, method="GET")
    with remote.project.start(*command) as run:
        wait_until(lambda: len(hub.asked(on=where)) >= (2 if "2" in command else 1))
        time.sleep(0.3)
        run.send_signal(number)
        began = time.monotonic()
        _, err = run.communicate(timeout=60)
    assert time.monotonic() - began < AT_ONCE, err
    assert run.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["provision", "model-lock"])
def test_files_of_a_repository_come_at_one_time_and_end_at_one_time(remote, hub, command):
    hub.add("org/many", {f"{number}.bin": TINY_BYTES + bytes([number]) for number in range(12)})
    remote.models({"many": {"model_ref": "hf:org/many", "engine": "vllm"}})
    hub.fault(faults.stall(after=0.5), on="*/resolve/*", method="GET")
    with remote.project.start(command) as run:
        wait_until(lambda: len(resolved(hub)) == 8)
        time.sleep(0.5)
        assert len(resolved(hub)) == 8, "more at a time than there may be"
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = run.communicate(timeout=60)
    assert time.monotonic() - began < AT_ONCE, err
    assert run.returncode == 130
    assert b"Traceback" not in err
    hub.heal()
    remote.provision()
    assert remote.on_the_way() == []
    assert len(remote.blobs()) == 12
