"""Whole files or none."""

import os
import subprocess
import sys
import threading

import pytest

from model_provisioner.artifacts.atomic import read_if_there, remove_durably, write_atomically
from model_provisioner.errors import StorageError


def test_a_file_is_made_with_its_folders_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "x.json"
    write_atomically(str(path), b"one")
    write_atomically(str(path), b"2")
    assert path.read_bytes() == b"2"
    assert os.listdir(path.parent) == ["x.json"]


def test_writers_at_the_same_time_leave_one_of_their_files_whole(tmp_path):
    path = tmp_path / "x.json"
    contents = [bytes([65 + n]) * 100_000 for n in range(8)]
    threads = [
        threading.Thread(target=lambda data=data: [write_atomically(str(path), data) for _ in range(10)])
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_a_killed_writer_left_is_used_by_the_next(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    script = "import os, sys; from model_provisioner.artifacts import atomic\natomic.os.replace = lambda *_: os.kill(os.getpid(), 9)\natomic.write_atomically(sys.argv[1], b'half')"
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == [".x.json.tmp", "x.json"]
    write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    os.symlink("victim", tmp_path / ".x.json.tmp")
    with pytest.raises(StorageError):
        write_atomically(str(tmp_path / "x.json"), b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StorageError) as caught:
        write_atomically(str(tmp_path / "x.json"), b"new")
    assert str(caught.value) == (
        "a file could not be written\n"
        f"  where     {tmp_path}/x.json\n"
        "  found     Is a directory\n"
        "  fix       a folder has the name of this file: rename it"
    )
    assert os.listdir(tmp_path) == ["x.json"]


def test_removing(tmp_path):
    (tmp_path / "x").touch()
    assert remove_durably(str(tmp_path / "x"))
    assert not remove_durably(str(tmp_path / "x"))
    assert not remove_durably(str(tmp_path / "no" / "x"))
    with pytest.raises(StorageError):
        remove_durably(str(tmp_path))


def test_reading_what_may_not_be_there(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    os.mkfifo(tmp_path / "fifo")
    assert read_if_there(str(tmp_path / "x")) == b"123"
    assert read_if_there(str(tmp_path / "x"), limit=2) is None
    assert read_if_there(str(tmp_path / "none")) is None
    assert read_if_there(str(tmp_path)) is None
    assert read_if_there(str(tmp_path / "fifo")) is None
