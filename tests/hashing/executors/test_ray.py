"""A real Ray cluster on this machine: what its nodes do when all is well, and what is said when they do not."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing

import pytest

from model_provisioner.errors import ExecutorError
from model_provisioner.hashing.executors.choose import chosen
from model_provisioner.hashing.executors.tasks import Asked, Hashed
from model_provisioner.hashing.executors.window import Window
from tests.support.project import AT_ONCE

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CLUSTER = """
import ray, sys
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a cluster of one node with two CPUs, which ends with the tests here."""
    home, folder = tmp_path_factory.mktemp("ray"), f"/tmp/ray-{os.getpid()}"  # a socket's path has to be short
    environ = {"HOME": str(home), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environ.items():
            patched.setenv(name, value)
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            found = process.stdout.readline().strip()
            assert found, "the cluster did not start"
            yield found
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
            process.stdout.close()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def window(address):
    with closing(Window(chosen(f"ray:{address}"))) as found:
        yield found


def asked(path):
    status = os.stat(path)
    return Asked(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def files(folder, *names):
    for name in names:
        (folder / name).write_bytes(name.encode() * 100)
    return [asked(folder / name) for name in names]


def answers(window, files, progress=lambda _: None):
    return {file.path: answer for some in window.hash(files, progress) for file, answer in some}


def test_files_are_hashed_by_the_nodes(window, tmp_path):
    some = files(tmp_path, *map(str, range(300)))
    assert answers(window, some) == {
        file.path: Hashed(hashlib.sha256(open(file.path, "rb").read()).hexdigest()) for file in some
    }
    assert window.slots == 2


def test_a_worker_that_dies_is_no_fault_of_a_model(window):
    future = window._opened().submit(os._exit, 1)
    assert type(future.exception(60)).__name__ == "WorkerCrashedError"


def test_who_stops_asking_waits_for_nobody_and_the_worker_is_ended(window, tmp_path):
    with open(tmp_path / "large", "wb") as large:
        large.truncate(100 << 30)
    began = time.monotonic()

    def interrupt(count):
        if time.monotonic() > began + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(window, [asked(tmp_path / "large")], interrupt)
    assert time.monotonic() - began < AT_ONCE
    some = files(tmp_path, "a", "b")
    assert answers(window, some).keys() == {file.path for file in some}
