"""A real dask scheduler and real workers: what they do when all is well, and what is said when one dies, hangs or lies."""

import hashlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from model_provisioner.errors import ExecutorError
from model_provisioner.hashing.executors import window as windows
from model_provisioner.hashing.executors.choose import chosen
from model_provisioner.hashing.executors.tasks import Asked, Hashed, SawAnother
from model_provisioner.hashing.executors.window import Window
from model_provisioner.hashing.memo import Memo
from tests.support.clusters import Dask
from tests.support.project import AT_ONCE

pytestmark = pytest.mark.filterwarnings("ignore")
POISON = """
from model_provisioner.hashing.executors import worker
import os
sound = worker._hash
worker._hash = lambda path, look: os._exit(1) if path.endswith("poison") else sound(path, look)
"""


def asked(path):
    status = os.stat(path)
    return Asked(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def files(folder, *names, size=1000):
    found = []
    for name in names:
        (folder / name).write_bytes(name.encode() * size)
        found.append(asked(folder / name))
    return found


def large(folder, name="large"):
    """A file that takes a worker many seconds and the disk nothing."""
    with open(folder / name, "wb") as file:
        file.truncate(100 << 30)
    return asked(folder / name)


def answers(window, files, progress=lambda _: None):
    return {file.path: answer for some in window.hash(files, progress) for file, answer in some}


def right(files):
    return {file.path: Hashed(hashlib.sha256(open(file.path, "rb").read()).hexdigest()) for file in files}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler for all tests that leave it as it is; each has workers of its own."""
    with closing(Dask(tmp_path_factory.mktemp("dask"))) as found:
        yield found


@pytest.fixture
def workers(cluster):
    yield cluster
    for process in cluster.workers:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    cluster.workers.clear()


@pytest.fixture
def window(workers, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_SCHEDULER_TIMEOUT", "3s")
    monkeypatch.setattr(windows, "SLOWEST", 1 << 60)
    with closing(Window(chosen(f"dask:{workers.address}"))) as found:
        yield found


@pytest.mark.slow
def test_files_are_hashed_by_the_workers(workers, window, tmp_path):
    workers.worker()
    workers.worker()
    some = files(tmp_path, *map(str, range(300)))
    read = []
    assert window.slots == 2
    assert answers(window, some, read.append) == right(some)
    assert sum(read) == sum(file.size for file in some)


@pytest.mark.slow
def test_a_project_is_provisioned_by_a_worker(workers, project):
    workers.worker()
    project.add_tiny()
    project.models("models: {tiny: {model_ref: models/tiny.gguf}}")
    project.environ["PYTHONWARNINGS"] = "default"  # those of dask are its own
    answer = project.process("provision", "--scheduler", f"dask:{workers.address}")
    assert answer.out.startswith("warn  tiny  hashed 105.2 KB (not verified before) → .runtime/engines/llamacpp.json\n")
    assert answer.err == ""
    with closing(Memo(str(project.state))) as memo:
        assert memo.last(str(project.root / "models/tiny.gguf")).fingerprint is None


@pytest.mark.slow
def test_another_worker_does_what_a_dead_one_had(workers, tmp_path):
    first = workers.worker(code=POISON)
    some = files(tmp_path, "poison", "sound")
    with closing(Window(chosen(f"dask:{workers.address}"))) as window, ThreadPoolExecutor() as here:
        found = here.submit(answers, window, some)
        first.wait(AT_ONCE)
        workers.worker()
        assert found.result(AT_ONCE) == right(some)


@pytest.mark.slow
def test_a_file_that_kills_every_worker_is_no_fault_of_its_model(workers, window, tmp_path):
    for _ in range(2):
        workers.worker(code=POISON)
    (poison,) = files(tmp_path, "poison")
    with pytest.raises(ExecutorError) as caught:
        answers(window, [poison])
    assert caught.value.what == f"a worker failed, or was lost, while it had {poison.path}"
    assert caught.value.found.startswith("KilledWorker: ")
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_a_silent_worker_is_not_waited_for_for_ever(workers, window, tmp_path):
    workers.worker().send_signal(signal.SIGSTOP)  # the fixture kills it
    began = time.monotonic()
    with pytest.raises(ExecutorError) as caught:
        answers(window, files(tmp_path, "a"))
    assert time.monotonic() - began < 3 + AT_ONCE
    assert (caught.value.what, caught.value.expected) == (
        "the workers are silent",
        "that one of 1 tasks ends within 3 s",
    )


@pytest.mark.slow
def test_a_folder_that_is_not_mounted_on_a_worker(workers, window, tmp_path):
    workers.worker(mount=f"mount -t tmpfs none {tmp_path}")
    (file,) = files(tmp_path, "a")
    with pytest.raises(ExecutorError) as caught:
        answers(window, [file])
    error = caught.value
    assert (error.what, error.where) == ("a worker can't read a file that is here", file.path)
    assert error.found == f"on {os.uname().nodename}: No such file or directory"


@pytest.mark.slow
def test_another_file_under_the_same_path_on_a_worker_is_none(workers, window, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (other,) = files(tmp_path / "there", "a")
    (file,) = files(tmp_path / "here", "a")
    os.utime(other.path, ns=(file.mtime_ns, file.mtime_ns))
    workers.worker(mount=f"mount --bind {tmp_path}/there {tmp_path}/here")
    found = answers(window, [file])[file.path]
    assert isinstance(found, SawAnother)
    assert f"sees another file there: 1,000 bytes of {file.mtime_ns / 1e9:.6f}, inode {other.inode}" in found.found
    assert window.read_here == {file.path: found.found}


@pytest.mark.slow
def test_who_stops_asking_waits_for_nobody(workers, window, tmp_path):
    workers.worker()
    began = time.monotonic()

    def interrupt(count):
        if time.monotonic() > began + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(window, [large(tmp_path)], interrupt)
    window.close()
    assert time.monotonic() - began < AT_ONCE


@pytest.mark.slow
def test_a_scheduler_that_is_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_SCHEDULER_TIMEOUT", "5s")
    monkeypatch.setattr(windows, "SLOWEST", 1 << 60)
    (tmp_path / "dask").mkdir()
    with closing(Dask(tmp_path / "dask")) as cluster:
        cluster.worker()
        with closing(Window(chosen(f"dask:{cluster.address}"))) as window:
            window.connect()
            threading.Timer(1, cluster.scheduler.kill).start()
            began = time.monotonic()
            with pytest.raises(ExecutorError) as caught:
                answers(window, [large(tmp_path)])
            assert time.monotonic() - began < 5 + AT_ONCE
            assert caught.value.where == window._scheduler.name


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.executors.dask.CONNECT_SECONDS", 0.5)
    with pytest.raises(ExecutorError) as caught:
        Window(chosen("dask:tcp://127.0.0.1:1")).connect()
    assert (caught.value.what, caught.value.where) == ("the executor can't be used", "dask:tcp://127.0.0.1:1")
