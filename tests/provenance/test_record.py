"""The provenance record, as lines of the log of this version and of older ones give it."""

import pytest

from model_provisioner.provenance.record import ProvenanceRecord

OLD = {
    "time": "2026-01-01T00:00:00Z",
    "id": "local:/m/x.gguf",
    "path": "/m/x.gguf",
    "size": 7,
    "digest": "sha256:" + "a" * 64,
    "outcome": "pass",
    "how": "xxh3",
}
"""A line of the first version."""


def test_a_line_of_an_older_version_has_the_one_file_of_a_model():
    (file,) = ProvenanceRecord.from_dict(OLD).files
    assert (file.name, file.sha256, file.size, file.hashed) == ("x.gguf", "a" * 64, 7, None)
    assert ProvenanceRecord.from_dict({**OLD, "how": "hashed"}).files[0].hashed == "2026-01-01T00:00:00Z"


def test_a_line_of_an_older_version_has_no_files_of_a_set():
    assert ProvenanceRecord.from_dict({**OLD, "digest": "dirhash:" + "a" * 64}).files == ()


@pytest.mark.parametrize(
    "line",
    [
        {},
        {**OLD, "digest": 7},
        {**OLD, "time": 7},
        {**OLD, "files": [{"no": "file"}]},
        {**OLD, "files": 7},
        {**OLD, "policy": {"no": "policy"}},
        {**OLD, "companions": [7]},
    ],
    ids=["empty", "digest", "time", "file", "files", "policy", "companions"],
)
def test_a_line_of_another_form_is_no_record(line):
    assert ProvenanceRecord.from_dict(line) is None


def test_what_is_not_known_of_a_verification_is_left_out_of_the_line():
    line = ProvenanceRecord.from_dict(OLD).to_dict()
    assert not {"origin", "signature", "companions"} & line.keys()
    assert (line["name"], line["policy"], line["version"]) == (None, None, None)
