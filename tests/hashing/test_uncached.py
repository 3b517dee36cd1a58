"""Hashing past the page cache: the same digest, and the cache is afterwards as it was before."""

import errno
import hashlib
import os
import threading

import pytest

from model_provisioner.hashing import uncached
from model_provisioner.hashing.uncached import PIECE, hash_uncached, resident

CACHED = 1 << 20
"""How many bytes of a file an engine has in the cache."""


@pytest.fixture(params=["from the disk", "through the cache"])
def way(request, monkeypatch):
    """Both ways of reading, on a file system that can do both."""
    if request.param == "through the cache":
        monkeypatch.setattr(uncached, "_DIRECT", 0)
    return request.param


def opened(path):
    return lambda flags: os.open(path, flags)


def pages_of(path):
    """Return which pages of a file are in the cache, without bringing one there."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return resident(fd, 0, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def file_of(tmp_path, size):
    """A file on the disk, of which nothing is in the cache."""
    path, data = tmp_path / "x", os.urandom(size)
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    return path, data


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17])
def test_the_digest_is_that_of_the_bytes(tmp_path, way, size):
    path, data = file_of(tmp_path, size)
    counts = []
    sha256, seen = hash_uncached(opened(path), counts.append)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert sum(counts) == seen.size == size
    assert seen.inode == os.stat(path).st_ino


@pytest.mark.parametrize("size", [PIECE // 2, 3 * PIECE + 17])
def test_what_was_not_in_the_cache_is_not_there_afterwards(tmp_path, way, size):
    path, _ = file_of(tmp_path, size)
    assert not any(pages_of(path)), "the kernel keeps pages of a file that was synced and dropped"
    hash_uncached(opened(path))
    assert not any(pages_of(path))


def test_what_an_engine_has_in_the_cache_stays_there(tmp_path, way):
    path, _ = file_of(tmp_path, 3 * PIECE)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(fd, CACHED, PIECE)
    before = pages_of(path)
    assert CACHED // 4096 <= sum(before) < len(before) // 2
    hash_uncached(opened(path))
    assert pages_of(path) == before
    os.close(fd)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("at", ["open", "read"])
def test_a_file_system_that_can_t_pass_the_cache_by_is_read_through_it(tmp_path, monkeypatch, code, at):
    path, data = file_of(tmp_path, PIECE + 5)
    asked = []

    def refuse(flags):
        asked.append(flags)
        if at == "open" and flags & os.O_DIRECT:
            raise OSError(code, os.strerror(code))
        return os.open(path, flags)

    def read(fd, into, offset):
        raise OSError(code, os.strerror(code))

    if at == "read":
        monkeypatch.setattr(uncached, "_read_direct", read)
    assert hash_uncached(refuse)[0] == hashlib.sha256(data).hexdigest()
    assert asked == [os.O_RDONLY | os.O_DIRECT, os.O_RDONLY]
    assert not any(pages_of(path))


def test_where_nobody_tells_what_is_in_the_cache_nothing_is_dropped(tmp_path, monkeypatch):
    path, data = file_of(tmp_path, PIECE + 5)
    monkeypatch.setattr(uncached, "_DIRECT", 0)
    monkeypatch.setattr(uncached, "resident", lambda fd, offset, length: None)
    assert hash_uncached(opened(path))[0] == hashlib.sha256(data).hexdigest()
    assert all(pages_of(path))


def test_an_error_of_the_disk_is_raised_and_nothing_left_open(tmp_path, way, monkeypatch):
    path, _ = file_of(tmp_path, 2 * PIECE)

    def broken(fd, into, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(uncached, "_read_direct" if way == "from the disk" else "_read_and_drop", broken)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output error"):
        hash_uncached(opened(path))
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_interrupted_reading_leaves_no_thread_behind(tmp_path, way):
    path, _ = file_of(tmp_path, 3 * PIECE)

    def interrupt(count):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        hash_uncached(opened(path), interrupt)
    assert threading.active_count() == before
