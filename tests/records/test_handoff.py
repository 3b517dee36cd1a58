"""The bytes of a handoff: the contract with every engine that reads one."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.headers.metadata import Metadata
from model_provisioner.records.handoff import handoff_id, is_handoff, render
from model_provisioner.fs.identity import Identity
from model_provisioner.hashing.memo import FileDigest
from model_provisioner.references.digest import Digest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "handoff.md"
SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
LLAMA = Metadata(
    format="gguf",
    architecture="llama",
    context_length=256,
    vocabulary_size=259,
    tokenizer_model="llama",
    quantization="Q8_0",
    parameter_count=90_624,
)


def file(path, size=105_248, inode=1, how="hashed"):
    return FileDigest(path, Identity(1, inode, size, inode, inode), SHA, how)


def handoff(path="/srv/models/tiny-llama.gguf", metadata=LLAMA, files=None, **fields):
    given = {
        "id": f"local:{path}",
        "path": path,
        "engine": "llamacpp",
        "digest": Digest("sha256", SHA),
        "files": [file(path)] if files is None else files,
        "metadata": metadata,
        "outcome": "pass",
    }
    return render(**{**given, **fields})


def test_the_bytes_are_those_of_the_reference_page():
    assert f"```json\n{handoff().decode()}```\n" in PAGE.read_text(encoding="utf-8")


def test_only_what_is_told_of_the_bytes_counts():
    """Not when, how or on which inode they were verified."""
    assert handoff(files=[file("/x", inode=1, how="hashed")]) == handoff(files=[file("/x", inode=2, how="xxh3")])


def test_a_set_has_all_its_files():
    data = json.loads(handoff("/m", files=[file("/m/a", 1), file("/m/b", 2)], digest=Digest("dirhash", SHA)))
    assert [each["path"] for each in data["metadata"]["files"]] == ["/m/a", "/m/b"]
    assert data["metadata"]["size_bytes"] == 3
    assert data["metadata"]["digest"] == {"algo": "dirhash", "value": SHA}


def test_what_a_format_does_not_tell_is_null():
    data = json.loads(handoff(metadata=Metadata()))["metadata"]
    untold = ("architecture", "chat_template_sha256", "ctx_max", "format", "parameter_count", "quantization")
    assert [data[name] for name in untold] == [None] * 6
    assert data["tokenizer"] == {"model": None, "pre": None, "vocab_size": None}


@given(st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw))
def test_any_path_survives_writing_and_reading(raw):
    path = "/" + os.fsdecode(raw)
    data = handoff(path)
    assert json.loads(data)["model"]["path"] == path
    assert data == handoff(path)
    assert data.endswith(b"}\n")
    assert is_handoff(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"model": {"id": "local:/x", "path": "/x"}}', True),
        (b'{"model": {"id": "local:/x", "path": "/x"}, "schema_version": 99, "more": 1}', True),
        (b'{"model": "x"}', False),
        (b'{"name": "package", "version": "1.0"}', False),
        (b"[]", False),
        (b"", False),
        (b"models: {}", False),
        (b"GGUF\xff\xff", False),
        (b"[" * 100_000, False),
    ],
    ids=["first version", "later version", "no model", "package", "list", "empty", "YAML", "GGUF", "deep"],
)
def test_a_handoff_is_recognised_among_other_files(data, expected):
    assert is_handoff(data) is expected


@pytest.mark.parametrize(
    ("written", "now"),
    [
        ("hf:org/repo/x.gguf", "hf:org/repo/x.gguf"),
        ("https://host/x.gguf", "https://host/x.gguf"),
        ("https://huggingface.co/org/repo/resolve/main/x.gguf#query-4e7f534bcbf5", "hf:org/repo/x.gguf"),
        ("https://huggingface.co/org/repo/tree/main/x", "https://huggingface.co/org/repo/tree/main/x"),
    ],
)
def test_the_id_in_a_handoff_is_read_as_it_is_now(written, now):
    assert handoff_id(handoff(id=written)) == now
