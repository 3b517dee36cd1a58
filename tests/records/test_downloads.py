"""Downloads by what was asked: which of them will do for a run that began before they ended, or after."""

import pytest

from model_provisioner.records import downloads as module
from model_provisioner.records.catalog import Catalog
from model_provisioner.records.downloads import Downloaded, DownloadRecord

ASKED, OTHER = b"a" * 32, b"b" * 32
OLD, NEW = Downloaded("0" * 64, 1), Downloaded("1" * 64, 2)


@pytest.fixture
def downloads(tmp_path):
    return DownloadRecord(Catalog(str(tmp_path)).database)


@pytest.mark.parametrize("anew", [False, True])
def test_what_ended_since_will_do(downloads, anew):
    since = downloads.last()
    assert downloads.find(ASKED, since, anew=anew) is None
    downloads.note(ASKED, OLD)
    downloads.note(OTHER, OLD)
    downloads.note(ASKED, NEW)
    assert downloads.find(ASKED, since, anew=anew) == NEW
    assert downloads.find(OTHER, since, anew=anew) == OLD
    assert downloads.find(b"c" * 32, since, anew=anew) is None


def test_what_ended_before_will_do_as_long_as_it_is_in_no_record_and_nobody_asks_anew(downloads):
    downloads.note(ASKED, OLD)
    since = downloads.last()
    assert downloads.find(ASKED, since, anew=True) is None
    assert downloads.find(ASKED, since, anew=False) == OLD
    downloads.note_recorded([ASKED])
    assert downloads.find(ASKED, since, anew=False) == OLD, "who looked for the record before that did not see it"
    assert downloads.find(ASKED, downloads.last(), anew=False) is None
    assert downloads.find(ASKED, since, anew=True) is None


def test_a_download_that_follows_a_record_is_a_new_one(downloads):
    downloads.note(ASKED, OLD)
    downloads.note_recorded([ASKED])
    since = downloads.last()
    downloads.note(ASKED, NEW)
    assert downloads.find(ASKED, since, anew=True) == downloads.find(ASKED, since, anew=False) == NEW


def test_so_many_are_kept_and_no_more(downloads, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for number in range(4):
        downloads.note(bytes([number]) * 32, OLD)
    assert downloads.find(bytes([0]) * 32, 0, anew=False) is None
    assert downloads.find(bytes([1]) * 32, 0, anew=False) == OLD
