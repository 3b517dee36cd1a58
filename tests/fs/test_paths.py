"""What is at a path: yes, no, or it can't be told."""

import os

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.fs.paths import files_below, is_there, may_be_there, names_in


def test_anything_is_there_a_broken_link_too(tmp_path):
    os.symlink("nowhere", tmp_path / "broken")
    (tmp_path / "file").touch()
    for name in ("", "file", "broken"):
        assert is_there(str(tmp_path / name))
        assert may_be_there(str(tmp_path / name))


def test_what_is_not_there_is_said_not_to_be(tmp_path):
    (tmp_path / "file").touch()
    for name in ("none", "no/folder", "file/below", "a\0b"):
        assert not is_there(str(tmp_path / name))
        assert not may_be_there(str(tmp_path / name))


def test_what_can_not_be_looked_at_is_not_said_to_be_missing(tmp_path):
    os.symlink("loop", tmp_path / "loop")
    path = str(tmp_path / "loop" / "x")
    assert may_be_there(path)
    with pytest.raises(StorageError) as caught:
        is_there(path)
    assert str(caught.value) == (
        "it can't be told whether a file is there\n"
        f"  where     {path}\n"
        "  expected  a file or folder that we can write\n"
        "  found     Too many levels of symbolic links\n"
        "  fix       mend that and run again"
    )


def test_what_can_not_be_listed_has_no_names(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    assert names_in(str(tmp_path)) == ["a", "b"]
    assert names_in(str(tmp_path / "b")) == names_in(str(tmp_path / "none")) == []
    assert list(files_below(str(tmp_path))) == [str(tmp_path / "b"), str(tmp_path / "a/x")]
