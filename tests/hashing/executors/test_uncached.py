"""Files are hashed past the page cache, in threads and on workers alike, and what could not be read is said, not raised."""

import errno
import hashlib
import os

import pytest

from model_provisioner.hashing import uncached
from model_provisioner.hashing.executors import tasks
from model_provisioner.hashing.executors.uncached import UncachedThreads, hash_files_uncached
from model_provisioner.hashing.executors.tasks import Asked, Hashed, SawAnother
from model_provisioner.hashing.executors.window import Window
from model_provisioner.hashing.executors.worker import hash_files, look_of


def asked(path):
    return Asked(str(path), *look_of(os.stat(path)))


def threads(files, progress=lambda count: None):
    return {file.path: answer for some in UncachedThreads().hash(files, progress) for file, answer in some}


def worker(files):
    """What a window makes of what a worker says."""
    window = Window(None, hash_files_uncached)
    host, said = hash_files_uncached([(file.path, (file.size, file.mtime_ns, file.inode)) for file in files])
    return {file.path: window._answer(file, each, host) for file, each in zip(files, said, strict=True)}


@pytest.fixture(params=[threads, worker])
def hashed(request):
    return request.param


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 5000)
    return path


def test_the_digest_is_that_of_the_bytes(file, hashed):
    assert hashed([asked(file)]) == {str(file): Hashed(hashlib.sha256(b"x" * 5000).hexdigest())}


def test_many_files_are_some_tasks_and_all_their_bytes_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "FILES", 4)
    files = []
    for number in range(10):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 1000)
        files.append(asked(tmp_path / str(number)))
    counts = []
    found = list(UncachedThreads().hash(files, counts.append))
    assert sorted(map(len, found)) == [2, 4, 4]
    assert {file.path for some in found for file, _ in some} == {file.path for file in files}
    assert sum(counts) == 10_000


def test_another_file_at_the_path_is_not_read(file, hashed):
    before = asked(file)
    file.write_bytes(b"longer" * 5000)
    assert isinstance(hashed([before])[str(file)], SawAnother)


@pytest.mark.parametrize("what", ["gone", "a link that leads nowhere", "a folder", "a FIFO"])
def test_what_can_t_be_opened_is_said(file, hashed, what):
    before = asked(file)
    file.unlink()
    match what:
        case "a link that leads nowhere":
            file.symlink_to("nowhere")
        case "a folder":
            file.mkdir()
        case "a FIFO":
            os.mkfifo(file)
    assert isinstance(hashed([before])[str(file)], SawAnother)


def test_a_disk_that_fails_in_the_middle_is_said_and_no_trouble_of_the_executor(file, hashed, monkeypatch):
    def broken(fd, into, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(uncached, "_read_direct", broken)
    found = hashed([asked(file)])[str(file)]
    assert isinstance(found, SawAnother)
    assert found.found.endswith("could not read it to its end: Input/output error") or (
        found.found == "it could not be read to its end: Input/output error"
    )


def test_so_it_is_where_a_worker_reads_through_its_cache():
    memory = asked("/proc/self/mem")  # its first page is in no process
    _, (said,) = hash_files([(memory.path, (0, memory.mtime_ns, memory.inode))])
    assert said == ("Input/output error", (0, memory.mtime_ns, memory.inode))
    answer = Window(None)._answer(memory, said, "hostb")
    assert answer == SawAnother("hostb could not read it to its end: Input/output error")
