"""A file that says what is wanted: when it is read again."""

import os

from model_provisioner.config.source_file import Source
from tests.support.project import settle


class Reader:
    """Reads a file, and counts how often it is asked to."""

    def __init__(self):
        self.times = 0

    def __call__(self, path):
        self.times += 1
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            return file.read()


def test_one_at_rest_is_not_read_again_until_it_moves(tmp_path):
    path, reader = tmp_path / "models.yaml", Reader()
    path.write_bytes(b"one")
    settle()
    source = Source.of(str(path), reader)
    assert source.again() == b"one"
    assert reader.times == 1
    path.write_bytes(b"two")
    assert source.again() == b"two"
    assert source.data == b"one"


def test_one_that_was_just_written_is_read_again_for_it_may_change_unseen(tmp_path):
    path, reader = tmp_path / "models.yaml", Reader()
    path.write_bytes(b"one")
    source = Source.of(str(path), reader)
    assert source.again() == b"one"
    assert reader.times == 2


def test_one_that_is_not_there_is_looked_for_again(tmp_path):
    path, reader = tmp_path / "models.lock", Reader()
    source = Source.of(str(path), reader)
    assert source.data is None
    assert source.again() is None
    assert reader.times == 1
    path.write_bytes(b"one")
    assert source.again() == b"one"
    path.unlink()
    assert source.again() is None
