"""JSON of others: which texts are read, and what is said of those that are not."""

import json

import pytest

from model_provisioner.json_text import MAX_MARKS, parse_json
from model_provisioner.fs.read import JSON_LIMIT


def test_it_is_read_as_json_reads_it():
    for value in (None, 1.5, "é\U0001f600", [], {"a": [1, {"b": "c, d: [e]"}]}):
        assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(b'{"a": 1, "a": 2}', tuple) == (("a", 1), ("a", 2))


def test_as_much_as_a_lock_of_many_files_has_is_read():
    line = b'{"path": "model-00001-of-00163.safetensors", "size": 4999999999, "sha256": "' + b"0" * 64 + b'"}'
    assert len(parse_json(b"[" + b",".join([line] * 200_000) + b"]")) == 200_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[" * 100_000, "the values nest too deeply"),
        (b" " * (JSON_LIMIT + 1), "33,554,433 bytes of JSON, and at most 33,554,432 are read"),
        (b"[" + b"," * MAX_MARKS + b"]", "up to 2,097,153 values and names, and at most 2,097,152 are read"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_what_is_not_read(data, said):
    with pytest.raises(ValueError) as caught:
        parse_json(data)
    assert str(caught.value) == said
