"""Both digests in one pass, and the fingerprint however the bytes come."""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import threading

import pytest

from model_provisioner.hashing import fingerprint as definition
from model_provisioner.hashing import streaming as hashing
from model_provisioner.hashing.fingerprint import FingerprintKey
from model_provisioner.hashing.streaming import fingerprint, hash_both, open_model
from model_provisioner.hashing.threads import CORES
from tests.hashing.test_fingerprint import plainly

KEY = FingerprintKey.drawn()


@pytest.fixture
def small_segments(monkeypatch):
    for module in (definition, hashing):
        monkeypatch.setattr(module, "SEGMENT", 64)
    for name in ("BUFFER", "AHEAD"):
        monkeypatch.setattr(hashing, name, 48)
    monkeypatch.setattr(hashing, "TELL_SECONDS", 0)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 63, 64, 65, 128, 1000])
def test_both_digests_are_what_their_definitions_say(tmp_path, small_segments, size, cores, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    fd = open_model(str(tmp_path / "x"))
    counts = []
    hashes = hash_both(fd, KEY, counts.append)
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.fingerprint == plainly(KEY, data, 64) == fingerprint(fd, KEY, lambda _: None)
    assert sum(counts) == size
    os.close(fd)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("read", [hash_both, fingerprint], ids=["hash_both", "fingerprint"])
def test_an_interrupted_reading_leaves_no_thread_and_no_core_behind(tmp_path, small_segments, read, cores, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    (tmp_path / "x").write_bytes(bytes(10_000))
    fd = open_model(str(tmp_path / "x"))

    def interrupt(count):
        raise KeyboardInterrupt

    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            read(fd, KEY, interrupt)
    assert threading.active_count() == before
    assert CORES.left == cores
    os.close(fd)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("read", [hash_both, fingerprint], ids=["hash_both", "fingerprint"])
def test_a_disk_that_fails_while_it_is_read_is_an_error(tmp_path, small_segments, read, cores, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    (tmp_path / "x").write_bytes(bytes(1000))
    fd = open_model(str(tmp_path / "x"))

    def fail(fd, buffers, offset, real=os.preadv):
        if offset > 300:
            raise OSError(5, "Input/output error")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read(fd, KEY, lambda _: None)
    os.close(fd)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("read", [hash_both, fingerprint])
def test_what_was_read_is_told_at_first_now_and_then_and_at_the_end(tmp_path, small_segments, read, cores, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    monkeypatch.setattr(hashing, "TELL_SECONDS", 60)
    (tmp_path / "x").write_bytes(bytes(100 * 64))
    fd, counts = open_model(str(tmp_path / "x")), []
    read(fd, KEY, counts.append)
    os.close(fd)
    assert sum(counts) == 100 * 64
    if read is hash_both or cores == 1:
        assert counts == [48, 100 * 64 - 48]


def test_a_thread_reads_for_the_one_that_hashes_as_long_as_a_core_is_left(tmp_path, small_segments, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: 2)
    (tmp_path / "x").write_bytes(bytes(100 * 48))
    fd = open_model(str(tmp_path / "x"))
    before, helped = threading.active_count(), []
    with contextlib.ExitStack() as another:

        def progress(count):
            helped.append(threading.active_count() - before)
            if len(helped) == 20:
                another.enter_context(CORES.taken())
            if len(helped) == 60:
                another.close()

        hash_both(fd, KEY, progress)
    os.close(fd)
    assert set(helped[:20]) == {1}
    assert set(helped[20 + hashing.AHEADS + 1 : 60]) == {0}, "a second file is read, and has the core"
    assert set(helped[61 : -hashing.AHEADS - 1]) == {1}, "the second file is at its end"


@pytest.mark.parametrize("seed", range(20))
def test_helpers_that_come_and_go_in_the_middle_of_a_file_change_no_digest(tmp_path, small_segments, seed, monkeypatch):
    """Cores are taken, given back and added at any buffer, and reads come short, as they do over a network."""
    drawn, plainly_read = random.Random(seed), os.preadv
    data = drawn.randbytes(drawn.randrange(49, 20_000))
    (tmp_path / "x").write_bytes(data)
    helped = set()

    def short(fd, buffers, offset):
        (view,) = buffers
        return plainly_read(fd, [view[: drawn.randint(1, len(view))]], offset)

    def progress(count):
        helped.add(threading.active_count() - before)
        if drawn.random() < 0.2:
            others.close()
            monkeypatch.setattr(CORES, "_count", drawn.randint(1, 3))
            for _ in range(drawn.randint(0, 3)):
                others.enter_context(CORES.taken())

    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: drawn.randint(1, 3))
    monkeypatch.setattr(os, "preadv", short)
    fd, before = open_model(str(tmp_path / "x")), threading.active_count()
    with contextlib.ExitStack() as others:
        hashes = hash_both(fd, KEY, progress)
    os.close(fd)
    assert hashes == hashing.Hashes(hashlib.sha256(data).hexdigest(), plainly(KEY, data, 64))
    assert len(data) < 5000 or helped >= {0, 1}
    assert threading.active_count() == before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    program = (
        "import resource, sys\n"
        "from model_provisioner.hashing.streaming import *\n"
        "from model_provisioner.hashing.fingerprint import FingerprintKey\n"
        "key = FingerprintKey.drawn()\n"
        "fd = open_model(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "hash_both(fd, key, lambda _: None); fingerprint(fd, key, lambda _: None)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 32 << 10
