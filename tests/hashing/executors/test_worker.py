"""What a worker does: it hashes what is as it was said to be, says how that looked, and decides nothing."""

import hashlib
import os
import pickle
import socket
import subprocess
import sys

import pytest

from model_provisioner.hashing.executors import worker
from model_provisioner.hashing.executors.worker import hash_files, look_of


def look(path):
    return look_of(os.stat(path))


@pytest.mark.parametrize("size", [0, 1, worker.BUFFER, worker.BUFFER + 1, 3 * worker.BUFFER])
def test_a_file_is_hashed(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    seen = look(tmp_path / "a")
    asked = [(str(tmp_path / "a"), seen)]
    assert hash_files(asked) == (socket.gethostname(), [(hashlib.sha256(data).hexdigest(), seen, seen)])


def test_a_file_that_is_not_as_it_must_be_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    seen = look(tmp_path / "a")
    monkeypatch.setattr(os, "readv", None)
    for other in ((2, *seen[1:]), (seen[0], 0, seen[2]), (*seen[:2], 0)):
        assert hash_files([(str(tmp_path / "a"), other)])[1] == [(seen,)]


def test_a_file_that_changes_is_seen_to_have_changed(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"a")
    seen, readv = look(path), os.readv

    def changing(fd, views):
        os.utime(path, (1, 1))
        return readv(fd, views)

    monkeypatch.setattr(os, "readv", changing)
    ((_, before, after),) = hash_files([(str(path), seen)])[1]
    assert (before, after) == (seen, look(path)) != (seen, seen)


def test_a_file_that_grows_is_not_followed(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"a" * 10)
    seen, readv, read = look(path), os.readv, []

    def growing(fd, views):
        with open(path, "ab") as file:
            file.write(b"b" * 100)
        read.append(readv(fd, views))
        return read[-1]

    monkeypatch.setattr(os, "readv", growing)
    hash_files([(str(path), seen)])
    assert sum(read) == 11


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file or directory"),
        (os.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_can_not_be_read_is_said_and_the_others_are_read(tmp_path, make, said):
    make(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"b")
    asked = [(str(tmp_path / "a"), (1, 1, 1)), ("\0", (1, 1, 1)), (str(tmp_path / "b"), look(tmp_path / "b"))]
    first, second, third = hash_files(asked)[1]
    assert (first, second) == (said, "embedded null byte")
    assert third[0] == hashlib.sha256(b"b").hexdigest()


def test_a_worker_imports_next_to_nothing_and_is_found_by_its_name():
    data = pickle.dumps(hash_files)
    code = (
        "import pickle, sys; call = pickle.loads(bytes.fromhex(sys.argv[1])); print(call([])[1]);"
        "print(sorted(each for each in sys.modules if each.partition('.')[0] in"
        " {'typing', 'dataclasses', 'xxhash', 'sqlite3', 'yaml', 'pydantic', 'urllib3', 'doit'}"
        " or each.startswith('model_provisioner')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, data.hex()], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == (
        "[]\n['model_provisioner', 'model_provisioner.fs', 'model_provisioner.fs.read', 'model_provisioner.hashing', "
        "'model_provisioner.hashing.executors', 'model_provisioner.hashing.executors.worker']\n"
    )
