"""The verifications that the state folder records: the last one of each entry."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from model_provisioner.errors import StorageError
from model_provisioner.provenance.verifications import Verifications
from model_provisioner.records.catalog.catalog import Catalog, Model
from tests.provenance.test_record import FILE, RECORD


@pytest.fixture
def catalog(tmp_path):
    return Catalog(str(tmp_path))


@pytest.fixture
def verifications(catalog):
    return Verifications(catalog.database)


def test_the_last_one_of_each_entry_is_kept(verifications):
    other = replace(RECORD, name=os.fsdecode(b"\xff"))
    again = replace(RECORD, time="2026-02-01T00:00:00Z", how="xxh3")
    verifications.note("/p", [RECORD, other])
    verifications.note("/p", [again])
    verifications.note("/q", [RECORD])
    verifications.note("/q", [])
    assert verifications.of_project("/p") == {"x": again, other.name: other}
    assert verifications.of("/p", "x") == again
    assert verifications.of("/q", "x") == RECORD
    assert verifications.of("/p", "y") is None


def test_one_that_read_nothing_replaces_only_one_of_something_else(verifications):
    verifications.note("/p", [RECORD])
    by_stat = replace(RECORD, time="2026-02-01T00:00:00Z", how="stat", files=(replace(FILE, how="stat"),))
    verifications.note("/p", [by_stat])
    assert verifications.of("/p", "x") == RECORD
    edited = replace(by_stat, policy=replace(RECORD.policy, strict=False))
    verifications.note("/p", [edited])
    assert verifications.of("/p", "x") == edited


def test_many_are_told_apart(verifications):
    records = [replace(RECORD, name=f"m{number}", how="stat") for number in range(1200)]
    verifications.note("/p", records)
    verifications.note("/p", [replace(each, time="2027-01-01T00:00:00Z") for each in records])
    assert verifications.of_project("/p") == {each.name: each for each in records}


def test_a_record_goes_with_the_row_of_its_entry(catalog, verifications):
    for name in ("x", "y"):
        catalog.put(Model(project="/p", name=name, id=RECORD.id, lifecycle="Active"))
        verifications.note("/p", [replace(RECORD, name=name)])
    catalog.remove("/p", ["x"])
    assert verifications.of_project("/p").keys() == {"y"}


@pytest.mark.parametrize("record", ["{", "7", "{}", "[" * 100_000], ids=["half", "number", "empty", "deep"])
def test_a_damaged_record_is_told(catalog, verifications, record):
    verifications.note("/p", [RECORD])
    with closing(sqlite3.connect(catalog.path)) as connection, connection:
        connection.execute("UPDATE verification SET record = ?", (record,))
    with pytest.raises(StorageError, match="the record of a verification is damaged"):
        verifications.of("/p", "x")


def test_a_reader_of_nothing_finds_nothing_and_makes_nothing(tmp_path):
    assert Verifications(Catalog.reader(str(tmp_path / "none")).database).of_project("/p") == {}
    assert os.listdir(tmp_path) == []
