"""Files are brought to the disk before they are read, many at once."""

from __future__ import annotations

import os
import threading
import time

import pytest

from model_provisioner.errors import UnreadableModelError
from model_provisioner.fs.identity import identity_of
from model_provisioner.hashing.memo import Memo
from model_provisioner.hashing.sync import AT_ONCE, sync_all


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / f"{number}.txt" for number in range(3 * AT_ONCE)]
    for path in found:
        path.write_text(path.name)
    return list(map(str, found))


@pytest.fixture
def memo(tmp_path):
    found = Memo(str(tmp_path / "state"))
    yield found
    found.close()


def test_files_are_synced_at_once_and_so_share_a_flush_of_the_disk(paths, monkeypatch):
    """No sync here ends before so many wait: one after the other they would wait for ever."""
    together = threading.Barrier(AT_ONCE, timeout=60)
    monkeypatch.setattr(os, "fsync", lambda fd: together.wait())
    assert sync_all(paths, lambda _: None) == {path: identity_of(path) for path in paths}


def test_no_more_files_are_open_than_one_process_syncs_at_once_whoever_asks(paths, monkeypatch):
    counted, most, now = threading.Lock(), 0, 0

    def fsync(fd):
        nonlocal most, now
        with counted:
            now += 1
            most = max(most, now)
        time.sleep(0.001)
        with counted:
            now -= 1

    monkeypatch.setattr(os, "fsync", fsync)
    callers = [threading.Thread(target=sync_all, args=(paths, lambda _: None)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == AT_ONCE


@pytest.mark.parametrize("ask", [Memo.digests, Memo.digests_in_full])
def test_all_small_files_of_a_batch_are_synced_before_the_first_is_read_and_none_twice(memo, paths, monkeypatch, ask):
    done = []
    files = {os.stat(path).st_ino: path for path in paths}

    def noting(what, real):
        def note(fd, *rest):
            if (inode := os.fstat(fd).st_ino) in files:
                done.append((what, files[inode]))
            return real(fd, *rest)

        return note

    monkeypatch.setattr(os, "fsync", noting("sync", os.fsync))
    monkeypatch.setattr(os, "pread", noting("read", os.pread))
    ask(memo, paths)
    assert [what for what, _ in done[: len(paths)]] == ["sync"] * len(paths)
    assert sorted(name for what, name in done if what == "sync") == sorted(paths)


def test_a_file_that_another_replaces_after_its_sync_is_synced_again(memo, paths, tmp_path, monkeypatch):
    """The new one may not be on the disk."""
    new, synced = tmp_path / "new", []

    def fsync(fd, real=os.fsync):
        real(fd)
        synced.append(os.fstat(fd).st_ino)
        if os.path.samestat(os.fstat(fd), os.stat(paths[7])) and not new.exists():
            new.write_text("another")
            replacing.append(os.stat(new).st_ino)
            os.rename(new, paths[7])

    replacing: list[int] = []
    monkeypatch.setattr(os, "fsync", fsync)
    memo.digests(paths)
    assert replacing[0] in synced


def test_what_the_disk_does_not_take_is_told_though_a_second_sync_would_not_tell_it(memo, paths, monkeypatch):
    """The kernel reports a failed write to one sync, and then takes the pages for clean."""
    failed = []

    def fsync(fd, real=os.fsync):
        if not failed and os.path.samestat(os.fstat(fd), os.stat(paths[7])):
            failed.append(fd)
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    answers = memo.digests(paths)
    assert [path for path, each in zip(paths, answers, strict=True) if isinstance(each, Exception)] == [paths[7]]
    assert isinstance(answers[7], UnreadableModelError)
    assert answers[7].found == "Input/output error"
    assert memo.last(paths[7]) is None


def test_a_sync_is_given_up_when_its_result_is_no_longer_wanted(paths, monkeypatch):
    class GivenUpError(Exception):
        pass

    def give_up(_):
        raise GivenUpError

    with pytest.raises(GivenUpError):
        sync_all(paths, give_up)
