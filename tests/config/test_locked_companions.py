"""Companions in the lock file: one line a file, read back as they were written, and faults told."""

import json

import pytest

from model_provisioner.errors import ConfigError
from model_provisioner.config.entries import Locked, LockedFile
from model_provisioner.config.lockfile import parse_lock, render_lock

SHA = "0123456789abcdef" * 4
FILE = LockedFile(name="x.gguf", size=3, sha256=SHA)
TINY = Locked(ref="file:x.gguf", kind="file", revision=None, files=(FILE,))
STYLE = Locked(
    ref="hf:org/style@main",
    kind="folder",
    revision="c" * 40,
    files=(LockedFile(name="a", size=1, sha256=SHA), LockedFile(name="b", size=2, sha256=SHA)),
    role="lora",
)
SEE = Locked(ref="file:see.gguf", kind="file", revision=None, files=(FILE,), role="mmproj")


SOUND = {"role": "lora", "ref": "x", "kind": "file", "files": [{"path": "x", "size": 1, "sha256": SHA}]}


def test_one_line_a_file():
    beside = Locked(ref=TINY.ref, kind="file", revision=None, files=(FILE,), companions=(SEE, STYLE))
    text = render_lock({"tiny": beside}).decode()
    line = f'"sha256": "{SHA}"'
    assert text == (
        '{\n  "version": 1,\n  "models": {\n'
        '    "tiny": {\n      "ref": "file:x.gguf",\n      "kind": "file",\n      "files": [\n'
        f'        {{"path": "x.gguf", "size": 3, {line}}}\n      ],\n'
        '      "companions": [\n'
        '        {\n          "role": "mmproj",\n          "ref": "file:see.gguf",\n          "kind": "file",\n'
        f'          "files": [\n            {{"path": "x.gguf", "size": 3, {line}}}\n          ]\n        }},\n'
        '        {\n          "role": "lora",\n          "ref": "hf:org/style@main",\n          "kind": "folder",\n'
        f'          "revision": "{"c" * 40}",\n'
        f'          "files": [\n            {{"path": "a", "size": 1, {line}}},\n'
        f'            {{"path": "b", "size": 2, {line}}}\n          ]\n        }}\n'
        "      ]\n    }\n  }\n}\n"
    )
    assert parse_lock(text.encode(), "models.lock") == {"tiny": beside}


def test_without_companions_it_is_as_it_was():
    assert b"companions" not in render_lock({"tiny": TINY})
    assert b"role" not in render_lock({"tiny": TINY})


@pytest.mark.parametrize(
    ("companions", "found"),
    [
        ([{**SOUND, "role": "head"}], [("companions → 0 → role", "role: mmproj or lora", "'head'")]),
        ([SOUND, 5], [("companions → 1", "ref, kind and files", "5")]),
        ([{**SOUND, "files": []}], [("companions → 0 → files", "files: a list of at least one", "[]")]),
        (5, [("companions", "companions: a list", "5")]),
        (None, [("companions", "companions: a list", "None")]),
    ],
)
def test_faults(companions, found):
    document = json.loads(render_lock({"tiny": TINY}))
    document["models"]["tiny"]["companions"] = companions
    with pytest.raises(ConfigError) as caught:
        parse_lock(json.dumps(document).encode(), "models.lock")
    told = [(fault.where.partition("tiny → ")[2], fault.expected, fault.found) for fault in caught.value.faults]
    assert told == found


@pytest.mark.parametrize("entry", [[], "x", None, 5])
def test_an_entry_that_is_none(entry):
    with pytest.raises(ConfigError, match="models.lock: 1 fault"):
        parse_lock(json.dumps({"version": 1, "models": {"tiny": entry}}).encode(), "models.lock")
