"""The provenance log: what is appended, and how a full one is rotated."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from model_provisioner.provenance import log as provenance
from model_provisioner.provenance.log import append
from model_provisioner.errors import StorageError


@pytest.fixture
def log(tmp_path):
    return tmp_path / "provenance" / "models.jsonl"


@pytest.fixture
def small(monkeypatch):
    """Logs are full at 200 bytes."""
    monkeypatch.setattr(provenance, "LIMIT", 200)


def lines(log):
    """Return the lines of all logs, the last one first; None for one that is no JSON object."""
    found = []
    for path in [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, provenance.KEPT + 1))]:
        if path.exists():
            found += reversed(path.read_bytes().splitlines())
    return [json.loads(line) if line.endswith(b"}") else None for line in found]


def numbers(log):
    return [each["n"] for each in lines(log)]


def test_records_are_appended(log):
    append(str(log), [{"n": 1}, {"n": 2}])
    append(str(log), [{"n": 3}])
    assert numbers(log) == [3, 2, 1]


def test_the_log_only_grows(tmp_path):
    log = tmp_path / "provenance" / "models.jsonl"
    append(str(log), [{"b": 1, "a": os.fsdecode(b"\xff")}])
    append(str(log), [{"c": 2}])
    lines = log.read_bytes().splitlines()
    assert lines == [b'{"a": "\\udcff", "b": 1}', b'{"c": 2}']


def test_a_torn_last_line_is_ended_before_the_next_one(tmp_path):
    log = tmp_path / "models.jsonl"
    log.write_bytes(b'{"a": 1}\n{"b"')
    append(str(log), [{"c": 2}])
    assert log.read_bytes() == b'{"a": 1}\n{"b"\n{"c": 2}\n'


def test_lines_of_many_writers_never_mix(tmp_path):
    log = tmp_path / "models.jsonl"
    threads = [
        threading.Thread(target=lambda n=n: [append(str(log), [{"n": n, "x": "y" * 5000}]) for _ in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert sorted(line["n"] for line in lines) == sorted([0, 1, 2, 3] * 50)


def test_a_full_log_is_rotated(log, small):
    for number in range(6):
        append(str(log), [{"n": number, "x": "y" * 100}])
    assert sorted(os.listdir(log.parent)) == ["models.jsonl", *(f"models.jsonl.{n}" for n in range(1, 6))]
    assert numbers(log) == [5, 4, 3, 2, 1, 0]
    assert json.loads((log.parent / "models.jsonl.5").read_bytes())["n"] == 0


def test_so_many_are_kept_and_no_more(log, small):
    for number in range(30):
        append(str(log), [{"n": number, "x": "y" * 150}])
    assert len(os.listdir(log.parent)) == provenance.KEPT + 1
    assert numbers(log) == list(range(29, 19, -1))


def test_records_that_come_together_stay_together(log, small):
    append(str(log), [{"n": number, "x": "y" * 50} for number in range(50)])
    append(str(log), [{"n": 50}])
    assert len((log.parent / "models.jsonl.1").read_bytes().splitlines()) == 50
    assert numbers(log) == list(range(50, -1, -1))


def test_the_torn_line_of_a_log_that_is_rotated_is_ended(log, small):
    append(str(log), [{"n": 1, "x": "y" * 180}])
    with log.open("ab") as file:
        file.write(b'{"n')
    append(str(log), [{"n": 2}])
    assert (log.parent / "models.jsonl.1").read_bytes().endswith(b'{"n\n')


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_a_gap_that_a_kill_left_is_filled_and_nothing_is_lost(log, small, gap):
    """Rotation goes from the last to the first: killed between two steps, one name is free."""
    for number in range(9):
        append(str(log), [{"n": number, "x": "y" * 150}])
    before = numbers(log)
    for number in range(8, gap - 1, -1):
        os.rename(f"{log}.{number}", f"{log}.{number + 1}")
    assert numbers(log) == before
    append(str(log), [{"n": 9, "x": "y" * 150}])
    assert numbers(log) == [9, *before]


def test_the_log_grows_on_if_it_can_not_be_rotated(log, small):
    append(str(log), [{"n": 1, "x": "y" * 150}])
    (log.parent / "models.jsonl.1").mkdir()
    for number in range(1, provenance.KEPT + 1):
        (log.parent / f"models.jsonl.{number}").mkdir(exist_ok=True)
        (log.parent / f"models.jsonl.{number}" / "x").touch()
    append(str(log), [{"n": 2, "x": "y" * 150}])
    assert len(log.read_bytes().splitlines()) == 2


def test_a_log_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "models.jsonl").mkdir()
    with pytest.raises(StorageError, match="the provenance log could not be written"):
        append(str(tmp_path / "models.jsonl"), [{}])


def test_many_writers_lose_no_line_while_logs_are_rotated(log, monkeypatch):
    monkeypatch.setattr(provenance, "LIMIT", 5000)
    monkeypatch.setattr(provenance, "KEPT", 1000)

    def write(writer):
        for number in range(100):
            append(str(log), [{"w": writer, "n": number, "x": "y" * 100}])

    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write, args=(writer,)) for writer in range(3)]
    writers += [threading.Thread(target=write, args=(3,))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [(each["w"], each["n"]) for each in lines(log)]
    assert sorted(found) == [(writer, number) for writer in range(4) for number in range(100)]
    assert len(os.listdir(log.parent)) > 5


WRITER = """
import sys
from model_provisioner.provenance import log as provenance
provenance.LIMIT, provenance.KEPT = 500, 100_000
n = int(sys.argv[2])
while True:
    provenance.append(sys.argv[1], [{"n": n, "x": "y" * 100}])
    print(n, flush=True)
    n += 1
"""


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_it_had_written(log, monkeypatch):
    monkeypatch.setattr(provenance, "KEPT", 100_000)
    written, begin = [], 0
    for round in range(12):
        command = [sys.executable, "-c", WRITER, str(log), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(0.01 + 0.003 * round)
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
        written += range(begin, int(rest[-1]) + 1 if rest else begin + 1)
        begin = written[-1] + 100
    # The last line of a round may be in the log without having been printed.
    told = [each for each in lines(log) if each is not None]
    assert [n for n in reversed([each["n"] for each in told]) if n in set(written)] == written
