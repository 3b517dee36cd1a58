"""The provenance record: what is kept of a verification, and what two of them have in common."""

from dataclasses import replace

import pytest

from model_provisioner.provenance.record import FileRecord, Policy, ProvenanceRecord, oldest

FILE = FileRecord(name="x.gguf", size=7, sha256="a" * 64, how="hashed", hashed="2026-01-01T00:00:00Z")
RECORD = ProvenanceRecord(
    name="x",
    id="local:/m/x.gguf",
    path="/m/x.gguf",
    time="2026-01-01T00:00:00Z",
    digest="sha256:" + "a" * 64,
    outcome="pass",
    how="hashed",
    origin=None,
    files=(FILE,),
    policy=Policy(expected="sha256:" + "a" * 64, strict=True, config="c" * 64, lock=None),
    version="0.1.0",
)


def test_what_is_empty_is_left_out():
    assert not {"origin", "signature", "companions"} & RECORD.to_dict().keys()
    told = replace(RECORD, origin="fetched from h", companions=({"role": "mmproj"},), signature={"over": "x"}).to_dict()
    assert {"origin", "signature", "companions"} <= told.keys()


@pytest.mark.parametrize(
    "changed",
    [{"digest": None}, {"files": [{"no": "file"}]}, {"files": 7}, {"policy": {"no": "policy"}}],
    ids=["missing", "file", "files", "policy"],
)
def test_anything_else_is_no_record(changed):
    fields = {name: value for name, value in {**RECORD.to_dict(), **changed}.items() if value is not None}
    with pytest.raises((KeyError, TypeError)):
        ProvenanceRecord.from_dict(fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "2027-01-01T00:00:00Z", "version": "9", "how": "stat", "origin": "fetched from h"},
        {"files": (replace(FILE, how="stat", hashed=None),)},
        {"policy": replace(RECORD.policy, config="d" * 64, lock="e" * 64)},
    ],
    ids=["time", "files", "policy"],
)
def test_two_records_tell_of_the_same_where_bytes_result_and_what_was_expected_are(changes):
    assert RECORD.tells_of(replace(RECORD, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "local:/m/y.gguf"},
        {"path": "/m/y.gguf"},
        {"digest": "sha256:" + "b" * 64},
        {"outcome": "warn"},
        {"files": (replace(FILE, sha256="b" * 64),)},
        {"policy": replace(RECORD.policy, expected=None)},
        {"policy": replace(RECORD.policy, strict=False)},
        {"signature": {"over": "x"}},
        {"companions": ({"role": "mmproj"},)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_else_they_do_not(changes):
    assert not RECORD.tells_of(replace(RECORD, **changes))


def test_a_model_was_hashed_when_the_first_of_its_files_was():
    later = replace(FILE, hashed="2026-02-01T00:00:00Z")
    assert replace(RECORD, files=(later, FILE)).hashed == FILE.hashed
    assert replace(RECORD, files=(later, replace(FILE, hashed=None))).hashed is None
    assert oldest([]) is None
