"""The build record: which artifacts a project wrote, and by which of its configurations."""

import os

from model_provisioner.records.artifacts import BuildRecord


def test_the_ledger_remembers_what_was_written(tmp_path):
    odd = os.fsdecode(b"/x/\xff.json")
    ledger, other = (BuildRecord(str(tmp_path), str(tmp_path), config) for config in ("/p/models.yaml", "/p/one.yaml"))
    ledger.record(["/x/a.json"])
    ledger.record(["/x/a.json"])
    ledger.record([odd])
    other.record(["/x/c.json"])
    assert BuildRecord(str(tmp_path), str(tmp_path), "/p/models.yaml").artifacts() == {"/x/a.json", odd}
    assert other.artifacts() == {"/x/c.json"}
    assert odd in ledger
    assert "/x/c.json" in ledger  # whoever of the project wrote it, it is no stranger's
    ledger.forget([odd])
    ledger.forget(["/x/none"])
    assert ledger.artifacts() == {"/x/a.json"}
    assert odd not in ledger
    other.record(["/x/a.json"])  # the last one that wrote it has it
    assert ledger.artifacts() == set()
