"""Bounded reads of regular files."""

import os
import sys

import pytest

from model_provisioner.fs.read import NotAFileError, Piece, TooLargeError, read_file, read_if_there


def test_a_file_within_the_limit_is_read_whole(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    assert read_file(str(tmp_path / "x"), 3) == b"123"


def test_a_larger_one_is_not_read(tmp_path):
    (tmp_path / "x").write_bytes(b"1234")
    with pytest.raises(TooLargeError, match="4 bytes") as caught:
        read_file(str(tmp_path / "x"), 3)
    assert caught.value.size == 4


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, make):
    path = str(tmp_path / "x")
    make(path)
    with pytest.raises(NotAFileError):
        read_file(path)
    assert read_if_there(path) is None


def test_a_link_to_a_file_is_read(tmp_path):
    """ConfigMaps are such links."""
    (tmp_path / "data").write_bytes(b"1")
    os.symlink("data", tmp_path / "x")
    assert read_file(str(tmp_path / "x")) == b"1"


def test_what_the_kernel_makes_up_has_no_size():
    assert (read_if_there("/proc/self/comm") or b"").endswith(b"\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a file that can be opened and not read: only Linux has one")
def test_a_piece_that_can_not_be_read_is_no_trouble_of_a_connection():
    """Whoever sends it would take an `OSError` for one, and send it again."""
    with Piece("/proc/self/mem", 0, 10) as piece, pytest.raises(EOFError, match=r"Input/output error"):
        piece.read()
