"""What the provenance log says of models."""

import json

import pytest

from model_provisioner.provenance.verifications import LastReading, read_verifications
from model_provisioner.errors import StorageError


LINE = {
    "id": "local:/x",
    "path": "/x",
    "size": 1,
    "digest": "sha256:1",
    "outcome": "pass",
    "time": "T1",
    "how": "hashed",
}


def line(**fields):
    return json.dumps({**LINE, **fields}).encode() + b"\n"


def test_the_last_reading_and_the_last_hash_of_each_digest(tmp_path):
    log = tmp_path / "models.jsonl"
    log.write_bytes(
        line()
        + line(time="T2", outcome="pass", more=[1])
        + line(time="T3", how="xxh3")
        + line(time="T4", digest="dirhash:2")
        + line(time="T5", id="local:/y", how="xxh3")
    )
    found = read_verifications(str(log))
    assert found.last == {
        ("local:/x", "sha256:1"): LastReading("T3", "xxh3"),
        ("local:/x", "dirhash:2"): LastReading("T4", "hashed"),
        ("local:/y", "sha256:1"): LastReading("T5", "xxh3"),
    }
    assert found.hashed == {
        ("local:/x", "sha256:1"): LastReading("T2", "hashed"),
        ("local:/x", "dirhash:2"): LastReading("T4", "hashed"),
    }


@pytest.mark.parametrize(
    "torn",
    [
        b"\n",
        b'{"id": "local:/x", "dig',
        b"[1]\n",
        b"7\n",
        b"\xff\xfe\n",
        line(time=7),
        line(time=None),
        b"[" * 100_000 + b"\n",
    ],
    ids=["empty", "half an object", "list", "number", "no UTF-8", "wrong type", "no time", "deep"],
)
def test_a_line_that_is_no_record_is_skipped(tmp_path, torn):
    log = tmp_path / "models.jsonl"
    log.write_bytes(line() + torn + (b"" if torn.endswith(b"\n") else b"\n") + line(id="local:/y"))
    seen = LastReading("T1", "hashed")
    assert read_verifications(str(log)).last == {("local:/x", "sha256:1"): seen, ("local:/y", "sha256:1"): seen}


def test_without_a_log_nothing_is_known(tmp_path):
    assert not read_verifications(str(tmp_path / "none" / "models.jsonl")).last


def test_a_log_that_can_not_be_read_is_an_error(tmp_path):
    with pytest.raises(StorageError) as raised:
        read_verifications(str(tmp_path))
    assert str(raised.value) == (
        "the provenance log can't be read\n"
        f"  where     {tmp_path}\n"
        "  found     Is a directory\n"
        "  fix       a folder has the name of this file: rename it"
    )
