"""Both digests in one pass, and the fingerprint however the bytes come."""

import hashlib
import os
import subprocess
import sys
import threading
from itertools import pairwise

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.hashing import streaming as hashing
from model_provisioner.hashing.threads import core_taken
from model_provisioner.hashing.streaming import fingerprint, hash_both, open_model


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(hashing, "SEGMENT", 64)
    monkeypatch.setattr(hashing, "BUFFER", 32)
    monkeypatch.setattr(hashing, "PIPELINE_BUFFER", 48)


def plainly(data, segment):
    """The fingerprint by its definition."""
    parts = [data[at : at + segment] for at in range(0, len(data), segment)]
    total = b"".join(xxhash.xxh3_128_digest(part) for part in parts) + len(data).to_bytes(8, "little")
    return xxhash.xxh3_128_hexdigest(total)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 63, 64, 65, 128, 1000])
def test_both_digests_are_what_their_definitions_say(tmp_path, small_segments, size, cores, monkeypatch):
    monkeypatch.setattr("model_provisioner.hashing.threads.core_count", lambda: cores)
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    fd = open_model(str(tmp_path / "x"))
    counts = []
    hashes = hash_both(fd, counts.append)
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.fingerprint == plainly(data, 64) == fingerprint(fd, lambda _: None)
    assert sum(counts) == size
    os.close(fd)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_the_fingerprint_does_not_depend_on_how_the_bytes_are_cut(data, cuts):
    xxh3 = hashing.Fingerprint()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(places):
        xxh3.update(memoryview(data)[begin:end])
    assert xxh3.hexdigest() == plainly(data, hashing.SEGMENT)


def test_segments_have_64_mib(tmp_path):
    """The fingerprints in a memo stay what they are."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    fd = open_model(str(path))
    zeros = bytes(64 << 20)
    first, last = xxhash.xxh3_128_digest(zeros), xxhash.xxh3_128_digest(b"\0")
    assert fingerprint(fd, lambda _: None) == xxhash.xxh3_128_hexdigest(
        first + last + ((64 << 20) + 1).to_bytes(8, "little")
    )
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
            read(fd, interrupt)
    assert threading.active_count() == before
    with core_taken() as spare:
        assert spare == cores - 1
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
        read(fd, lambda _: None)
    os.close(fd)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    program = (
        "import resource, sys\n"
        "from model_provisioner.hashing.streaming import *\n"
        "fd = open_model(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "hash_both(fd, lambda _: None); fingerprint(fd, lambda _: None)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 32 << 10
