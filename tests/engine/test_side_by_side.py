"""Fetching and local hashing side by side: neither waits for the other, and an interrupt waits for neither."""

import os
import signal
import time

import pytest

from model_provisioner.hashing import memo
from tests.support import hub as faults
from tests.support.project import AT_ONCE, settle
from tests.support.remote import TINY_BYTES, reads, wait_until
from tests.support.slow_disk import SlowDisk

THREE = ("one", "two", "three")
MODELS = {
    "large": {"model_ref": "large.bin"},
    "small": {"model_ref": "small.bin"},
    **{name: f"hf:org/{name}/{name}.gguf" for name in THREE},
}


@pytest.fixture
def both(remote, hub):
    """A project of a large and a small local model and of three that are fetched."""
    for name in THREE:
        hub.add(f"org/{name}", {f"{name}.gguf": TINY_BYTES + name.encode()})
    remote.project.write("large.bin", bytes(3 << 20))
    remote.project.write("small.bin", "small")
    remote.models(MODELS)
    return remote


def hashing(patch, before):
    """Call `before` with the name of each file that is hashed where it lies, before a byte of it is read."""
    real = memo.hash_both

    def hash_both(fd, *rest):
        before(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        return real(fd, *rest)

    patch.setattr(memo, "hash_both", hash_both)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-n", "1"],
        ["large", "small", *THREE],
        ["-n", "1", *THREE, "large"],
        ["--always-execute", "-n", "1"],
        ["-r", "zero", "-n", "1"],
        ["--no-continue", "-n", "1"],
    ],
    ids=" ".join,
)
def test_each_of_three_is_asked_for_before_the_local_hashing_ended(both, hub, monkeypatch, options):
    held = []

    def before(name):
        if name == "large.bin":
            wait_until(lambda: all(hub.asked(on=f"/*org/{each}*") for each in THREE))
            held.append(name)

    hashing(monkeypatch, before)
    both.provision(*options)
    assert held == ["large.bin"]
    assert all(both.project.handoff(name) for name in ("large", *THREE))


@pytest.mark.parametrize("options", [[], ["-n", "1"], [*THREE, "large", "small"]], ids=" ".join)
def test_local_models_are_handed_off_while_a_server_takes_its_time(both, hub, monkeypatch, options):
    """The server sends no byte of a model before each local one has its handoff."""
    answer, waited = faults.Hub.take, []

    def take(hub, request):
        if "/resolve/" in request.path and request.method == "GET":
            wait_until(lambda: both.project.handoff("large") and both.project.handoff("small"))
            waited.append(request.path)
        return answer(hub, request)

    monkeypatch.setattr(faults.Hub, "take", take)
    both.provision(*options)
    assert len(waited) == len(THREE)
    assert all(both.bytes_of(name) == TINY_BYTES + name.encode() for name in THREE)


def test_at_most_eight_models_are_fetched_at_a_time_and_each_is_asked_for_once(remote, hub, monkeypatch):
    names = [f"m{number}" for number in range(10)]
    for name in names:
        hub.add(f"org/{name}", {"x.gguf": TINY_BYTES + name.encode()})
    remote.models({name: f"hf:org/{name}/x.gguf" for name in names})
    answer, at_work, most = faults.Hub.take, set(), []

    def take(hub, request):
        if "/resolve/" in request.path and request.method == "GET":
            at_work.add(request.path)
            most.append(len(at_work))
            if len(most) <= 8:
                wait_until(lambda: len(most) >= 8)
                time.sleep(0.2)
            at_work.discard(request.path)
        return answer(hub, request)

    monkeypatch.setattr(faults.Hub, "take", take)
    remote.provision()
    assert max(most) == 8
    assert len(most) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("names", [[], [*MODELS]], ids=["no names", "names"])
def test_an_interrupt_waits_neither_for_a_silent_server_nor_for_the_hashing_and_the_next_run_resumes(
    both, hub, number, names
):
    with open(both.root / "large.bin", "wb") as file:
        file.truncate(300 << 20)
    SlowDisk(both.project, 0.1)  # half a minute of reading
    hub.fault(faults.stall(after=50_000), on="*/resolve/*", method="GET")
    with both.project.start("provision", "-n", "2", *names) as run:
        wait_until(lambda: both.project.handoff("small") and len(hub.asked("GET", "*/resolve/*")) == len(THREE))
        wait_until(lambda: reads(run.pid, both.root / "large.bin"))
        time.sleep(0.5)  # what was sent has come: it is kept, however the run ends
        run.send_signal(number)
        began = time.monotonic()
        _, err = run.communicate(timeout=60)
        took = time.monotonic() - began
    print(f"an interrupt was answered after {took:.2f} s")
    assert took < AT_ONCE
    assert run.returncode == 130
    assert (
        err.decode().splitlines()[-1]
        == "interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run"
    )
    assert b"Traceback" not in err

    left = {path.name for path in (both.root / ".runtime").rglob("*") if path.is_file()}
    assert left == {"small.json", "small.sha256", "models.jsonl"}
    assert not [name for name in both.on_the_way() if name.startswith("tree.")]

    hub.heal()
    hub.forget()
    both.project.write("large.bin", bytes(3 << 20))
    settle()
    assert "5 models: 5 done" in both.provision().out
    again = hub.asked("GET", "*/resolve/*")
    assert [each.headers.get("range") for each in again] == ["bytes=49999-"] * len(THREE)  # the last byte is compared
    assert all(both.bytes_of(name) == TINY_BYTES + name.encode() for name in THREE)
    assert both.on_the_way() == []
    assert "5 models: 5 current" in both.provision().out
