"""Events: what a run tells of how far it is, in which order, and that whoever is told can end it."""

import pytest

from model_provisioner.engine.events import (
    BytesRead,
    FetchBegins,
    FetchEnded,
    FetchReached,
    ModelEnded,
    ReadingBegins,
    WorkBegins,
)
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import FetchError
from model_provisioner.hashing.streaming import BUFFER
from tests.support.hub import Hub, no_entry

SIZE = 2 * BUFFER + 5


class Told(list):
    """The events of a run; `end_at` raises when one of that kind comes."""

    end_at = ()

    def __call__(self, event):
        self.append(event)
        if isinstance(event, self.end_at):
            raise KeyboardInterrupt


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def provision(tmp_path, told):
    def provision(ref):
        (tmp_path / "models.yaml").write_text(
            f"cache_dir: {tmp_path}/cache\nnetwork: {{allow: [127.0.0.1]}}\n"
            f"models: {{m: {{model_ref: '{ref}', engine: vllm, handoff: '{tmp_path}/m.json'}}}}\n"
        )
        with Run(open_workspace(str(tmp_path / "models.yaml"), progress=told)) as run:
            run.provision_one("m")

    return provision


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with Hub() as hub:
        for name, value in hub.environ(tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        hub.add("org/m", {"a.bin": bytes(SIZE), "b.txt": b"text"})
        yield hub


def test_a_reading(tmp_path, provision, told):
    (tmp_path / "m.bin").write_bytes(bytes(SIZE))
    provision(tmp_path / "m.bin")
    first, begins, *read, last = told
    assert (first, begins, last) == (WorkBegins(1, SIZE), ReadingBegins("m", SIZE), ModelEnded("m"))
    assert {(type(event), event.model) for event in read} == {(BytesRead, "m")}
    assert sum(event.count for event in read) == SIZE


def test_a_fetch_adds_up_its_files(hub, provision, told):
    provision("hf:org/m")
    first, begins, *reached, ended, last = [event for event in told if not isinstance(event, ReadingBegins | BytesRead)]
    assert (first, last) == (WorkBegins(1, 0), ModelEnded("m"))
    assert begins == FetchBegins("m", SIZE + 4, "127.0.0.1")
    assert ended == FetchEnded("m")
    assert {type(event) for event in reached} == {FetchReached}
    assert {(event.model, event.size, event.by_another_run) for event in reached} == {("m", SIZE + 4, False)}
    done = [event.done for event in reached]
    assert done == sorted(done)
    assert done[-1] == SIZE + 4


def test_a_fetch_that_fails_ends_too(hub, provision, told):
    hub.fault(no_entry(), on="*/resolve/*/a.bin")
    with pytest.raises(FetchError):
        provision("hf:org/m/a.bin")
    assert told[1] == FetchBegins("m", SIZE, "127.0.0.1")
    assert told[-2:] == [FetchEnded("m"), ModelEnded("m")]


@pytest.mark.parametrize("kind", [ReadingBegins, BytesRead])
def test_what_it_raises_ends_a_reading(tmp_path, provision, told, kind):
    (tmp_path / "m.bin").write_bytes(bytes(SIZE))
    told.end_at = kind
    with pytest.raises(KeyboardInterrupt):
        provision(tmp_path / "m.bin")
    assert sum(event.count for event in told if isinstance(event, BytesRead)) < SIZE
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("kind", [FetchBegins, FetchReached])
def test_what_it_raises_ends_a_fetch(hub, tmp_path, provision, told, kind):
    told.end_at = kind
    with pytest.raises(KeyboardInterrupt):
        provision("hf:org/m/a.bin")
    assert not [event for event in told if isinstance(event, FetchReached) and event.done == SIZE]
    assert not (tmp_path / "m.json").exists()
