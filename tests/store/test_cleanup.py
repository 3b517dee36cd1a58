"""What nobody owns is old by the clock of the file system that it lies on, not by that of who looks."""

import os
import time

import pytest

from model_provisioner.store import cleanup
from model_provisioner.store.store import Store

DAY = 86400
OTHER = f"0123456789abcdef.{'a' * 64}.{'b' * 16}"


@pytest.fixture
def files(tmp_path):
    """Files of a store, made six days ago by its clock: of a dead run of this host, and of another host."""
    folder = tmp_path / "cache" / "partial"
    folder.mkdir(parents=True)
    for name in (OTHER, f"{OTHER}.json", OTHER.replace("0123456789abcdef", "local"), f"draft.{'c' * 16}"):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - 6 * DAY,) * 2)
    return folder


def test_a_clock_that_is_ahead_removes_nothing(files, monkeypatch):
    class Ahead:
        @staticmethod
        def time():
            return time.time() + 30 * DAY

    before = sorted(os.listdir(files))
    monkeypatch.setattr(cleanup, "time", Ahead)
    Store(str(files.parent)).folder("partial")
    assert sorted(os.listdir(files)) == before


def test_after_seven_days_all_goes(files):
    for path in files.iterdir():
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    Store(str(files.parent)).folder("partial")
    assert os.listdir(files) == []
