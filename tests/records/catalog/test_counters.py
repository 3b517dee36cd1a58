"""What is counted since the catalog was made, and that a counter never goes down."""

from dataclasses import replace

import pytest

from model_provisioner.records.catalog.catalog import Catalog, Model
from model_provisioner.records.catalog.counters import Counters

ACTIVE = Model(project="/p", name="tiny", id="local:/x", lifecycle="Active", outcome="pass", digest="d")


@pytest.fixture
def catalog(tmp_path):
    return Catalog(str(tmp_path))


@pytest.fixture
def counters(catalog):
    return Counters(catalog.database)


def test_of_a_new_catalog_nothing_is_counted(counters):
    assert counters.verifications() == {}
    assert counters.fetched_bytes() == 0


def test_each_result_that_is_written_counts_once(catalog, counters):
    catalog.put(ACTIVE)
    catalog.put(ACTIVE, replace(ACTIVE, name="other"))
    catalog.put(replace(ACTIVE, lifecycle="Failed", outcome="error"))
    assert counters.verifications() == {"pass": 3, "error": 1}


def test_what_is_no_result_does_not_count(catalog, counters):
    catalog.put(ACTIVE)
    catalog.put(replace(ACTIVE, lifecycle="Pending", outcome=None))
    catalog.put(replace(ACTIVE, lifecycle="Retired", outcome=None), by="hand")
    catalog.note_audit("/p", "tiny")
    catalog.mark_corrupt("/x", "d", "e")
    assert catalog.put(ACTIVE).keys() == {"tiny"}, "a retired model is not written"
    assert counters.verifications() == {"pass": 1}


def test_counters_stay_when_the_models_go(catalog, counters):
    catalog.put(ACTIVE)
    catalog.remove("/p", ["tiny"])
    assert counters.verifications() == {"pass": 1}


def test_fetched_bytes_add_up_in_every_process(catalog, counters, tmp_path):
    counters.add_fetched(5 << 40)
    Counters(Catalog(str(tmp_path)).database).add_fetched(3)
    counters.add_fetched(0)
    assert Counters(Catalog.reader(str(tmp_path)).database).fetched_bytes() == (5 << 40) + 3


def test_where_nothing_can_be_written_no_model_fails_for_a_number(tmp_path):
    (tmp_path / "catalog.db").mkdir()
    Counters(Catalog(str(tmp_path)).database).add_fetched(3)
