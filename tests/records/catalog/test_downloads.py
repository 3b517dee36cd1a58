"""Downloads by what was asked: which of them will do for a run that began before they ended, or after."""

import pytest

from model_provisioner.records.catalog import downloads as module
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.records.catalog.downloads import Downloaded, DownloadRecord

ASKED, OTHER = b"a" * 32, b"b" * 32
OLD, NEW = Downloaded("0" * 64, 1, '"v1"'), Downloaded("1" * 64, 2)


@pytest.fixture
def downloads(tmp_path):
    return DownloadRecord(Catalog(str(tmp_path)).database)


def test_the_last_download_is_known_by_what_was_asked(downloads):
    assert downloads.find(ASKED) is None
    downloads.note(ASKED, OLD)
    downloads.note(OTHER, OLD)
    downloads.note(ASKED, NEW)
    found = downloads.find(ASKED)
    assert (found.sha256, found.size, found.validator) == (NEW.sha256, 2, None)
    assert downloads.find(OTHER).validator == '"v1"'


@pytest.mark.parametrize("anew", [False, True])
def test_what_ended_since_will_do(downloads, anew):
    since = downloads.last()
    downloads.note(ASKED, OLD)
    assert downloads.find(ASKED).will_do(since, anew=anew)
    downloads.note_recorded([ASKED])
    assert downloads.find(ASKED).will_do(since, anew=anew)


def test_what_ended_before_will_do_as_long_as_it_is_in_no_record_and_nobody_asks_anew(downloads):
    downloads.note(ASKED, OLD)
    since = downloads.last()
    assert not downloads.find(ASKED).will_do(since, anew=True)
    assert downloads.find(ASKED).will_do(since, anew=False)
    downloads.note_recorded([ASKED])
    assert downloads.find(ASKED).will_do(since, anew=False), "who looked for the record before that did not see it"
    assert not downloads.find(ASKED).will_do(downloads.last(), anew=False)
    assert not downloads.find(ASKED).will_do(since, anew=True)


def test_a_download_that_follows_a_record_is_a_new_one(downloads):
    downloads.note(ASKED, OLD)
    downloads.note_recorded([ASKED])
    since = downloads.last()
    downloads.note(ASKED, NEW)
    assert downloads.find(ASKED).will_do(since, anew=True)
    assert downloads.find(ASKED).will_do(downloads.last(), anew=False), "no record says so yet"


def test_so_many_are_kept_and_no_more(downloads, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for number in range(4):
        downloads.note(bytes([number]) * 32, OLD)
    assert [downloads.find(bytes([number]) * 32) is None for number in range(4)] == [True, False, False, False]
