"""The smaller records: the build record of artifacts, the provenance log, the locks."""

import json
import os
import threading

import pytest

from model_provisioner.provenance import log as provenance
from model_provisioner.records.artifacts import Ledger
from model_provisioner.fs.locks import locked
from model_provisioner.errors import StorageError


def test_the_ledger_remembers_what_was_written(tmp_path):
    odd = os.fsdecode(b"/x/\xff.json")
    ledger, other = (Ledger(str(tmp_path), config) for config in ("/p/models.yaml", "/p/one.yaml"))
    ledger.record(["/x/a.json"])
    ledger.record(["/x/a.json"])
    ledger.record([odd])
    other.record(["/x/c.json"])
    assert Ledger(str(tmp_path), "/p/models.yaml").artifacts() == {"/x/a.json", odd}
    assert other.artifacts() == {"/x/c.json"}
    assert odd in ledger
    assert "/x/c.json" in ledger  # whoever of the project wrote it, it is no stranger's
    ledger.forget([odd])
    ledger.forget(["/x/none"])
    assert ledger.artifacts() == {"/x/a.json"}
    assert odd not in ledger
    other.record(["/x/a.json"])  # the last one that wrote it has it
    assert ledger.artifacts() == set()


def test_the_log_only_grows(tmp_path):
    log = tmp_path / "provenance" / "models.jsonl"
    provenance.append(str(log), [{"b": 1, "a": os.fsdecode(b"\xff")}])
    provenance.append(str(log), [{"c": 2}])
    lines = log.read_bytes().splitlines()
    assert lines == [b'{"a": "\\udcff", "b": 1}', b'{"c": 2}']


def test_a_torn_last_line_spoils_no_other(tmp_path):
    log = tmp_path / "models.jsonl"
    log.write_bytes(b'{"a": 1}\n{"b"')
    provenance.append(str(log), [{"c": 2}])
    assert log.read_bytes() == b'{"a": 1}\n{"b"\n{"c": 2}\n'


def test_lines_of_many_writers_never_mix(tmp_path):
    log = tmp_path / "models.jsonl"
    threads = [
        threading.Thread(
            target=lambda n=n: [provenance.append(str(log), [{"n": n, "x": "y" * 5000}]) for _ in range(50)]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert sorted(line["n"] for line in lines) == sorted([0, 1, 2, 3] * 50)


def test_a_log_that_can_not_be_written_is_told(tmp_path):
    (tmp_path / "models.jsonl").mkdir()
    with pytest.raises(StorageError, match="the provenance log could not be written"):
        provenance.append(str(tmp_path / "models.jsonl"), [{}])


def test_a_lock_is_held_by_one_at_a_time_and_freed_by_death(tmp_path):
    inside = []
    overlaps = []

    def work():
        for _ in range(30):
            with locked(str(tmp_path), "hash", "/x"):
                inside.append(1)
                overlaps.append(len(inside))
                inside.pop()

    if (child := os.fork()) == 0:
        with locked(str(tmp_path), "hash", "/x"):
            os.kill(os.getpid(), 9)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(child, 0)
    assert overlaps == [1] * 120


def test_there_are_few_lock_files_however_many_keys(tmp_path):
    for number in range(1000):
        with locked(str(tmp_path), "hash", str(number)):
            pass
    assert len(os.listdir(tmp_path / "locks" / "hash")) <= 256
