"""The lock file as text: what is written is read again, and every fault is told with its line."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import ConfigError
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.config.entries import Locked, LockedFile
from model_provisioner.config.lockfile import parse_lock, render_lock

HEX = "ab" * 32
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.binary(min_size=1, max_size=9).map(lambda name: os.fsdecode(name.replace(b"\0", b"x")))
FILES = st.builds(
    LockedFile,
    name=NAMES,
    size=st.integers(0, 2**62),
    sha256=st.integers(0, 16**64 - 1).map("{:064x}".format),
)


def in_order(files):
    return tuple(sorted(files, key=lambda file: os.fsencode(file.name)))


SETS = st.lists(FILES, min_size=1, max_size=4, unique_by=lambda file: file.name).map(in_order)
MODELS = st.builds(
    Locked,
    ref=TEXTS,
    kind=st.sampled_from(["split", "folder"]),
    revision=st.none() | TEXTS.filter(len),
    files=SETS,
    include=st.lists(TEXTS, max_size=2).map(tuple),
    exclude=st.lists(TEXTS, max_size=2).map(tuple),
)
LOCKS = st.dictionaries(TEXTS, MODELS, max_size=4)


@given(LOCKS)
def test_what_is_written_is_read_again(models):
    data = render_lock(models)
    assert parse_lock(data, "models.lock") == models
    assert render_lock(parse_lock(data, "models.lock")) == data


@given(LOCKS)
def test_each_file_has_a_line_and_models_are_in_order(models):
    lines = render_lock(models).decode().split("\n")
    assert len([line for line in lines if line.startswith('        {"path": ')]) == sum(
        len(m.files) for m in models.values()
    )
    assert list(json.loads("\n".join(lines))["models"]) == sorted(models)


@given(LOCKS.filter(len), st.data())
def test_a_lock_that_was_damaged_is_read_or_told_never_more(models, data):
    """A byte more, less or another: the file is read, or there is a `ConfigError` that names it."""
    whole = bytearray(render_lock(models))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        parse_lock(bytes(whole), "models.lock")
    except ConfigError as error:
        assert all(fault.where.startswith("models.lock") and fault.fix for fault in error.faults)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS, lambda of: st.lists(of) | st.dictionaries(TEXTS, of)
    )
)
def test_any_json_in_the_place_of_models(value):
    for document in (value, {"version": 1, "models": value}, {"version": 1, "models": {"x": value}}):
        try:
            parse_lock(json.dumps(document).encode(), "models.lock")
        except ConfigError as error:
            assert error.faults


def test_what_is_locked_is_expected():
    one, two = (LockedFile(name=name, size=1, sha256=HEX) for name in ("a", "b"))
    single = Locked(ref="file:a", kind="file", revision=None, files=(one,))
    assert single.expected == Digest("sha256", HEX)
    both = Locked(ref="file:d", kind="folder", revision=None, files=(one, two))
    assert both.expected == SetDigest((("a", Digest("sha256", HEX)), ("b", Digest("sha256", HEX))))


def lock(**entry):
    """Return a lock of one entry, `tiny`, whose fields are JSON, each with a line of its own from the third one on."""
    file = f'{{"path": "a", "size": 1, "sha256": "{HEX}"}}'
    fields = {"ref": '"file:a"', "kind": '"file"', "files": f"[{file}]"} | entry
    inner = ",\n".join(f'"{name}": {value}' for name, value in fields.items() if value is not None)
    return f'{{"version": 1, "models": {{\n"tiny": {{\n{inner}\n}}}}}}'.encode()


def files(*each):
    return "[" + ",\n".join(each) + "]"


def file(path='"a"', size="1", sha256=f'"{HEX}"'):
    return f'{{"path": {path}, "size": {size}, "sha256": {sha256}}}'


@pytest.mark.parametrize(
    ("data", "place", "expected", "found"),
    [
        (lock(ref="7"), ":3, models → tiny → ref", "ref: a reference", "7"),
        (lock(ref=None), ":2, models → tiny → ref", "ref: a reference", "nothing"),
        (lock(kind='"tree"'), ":4, models → tiny → kind", "kind: file, split or folder", "'tree'"),
        (lock(kind="[]"), ":4, models → tiny → kind", "kind: file, split or folder", "[]"),
        (lock(revision="7"), ":6, models → tiny → revision", "revision: a text", "7"),
        (lock(include='"*"'), ":6, models → tiny → include", "include: a list of patterns", "'*'"),
        (lock(exclude="[1]"), ":6, models → tiny → exclude", "exclude: a list of patterns", "[1]"),
        (lock(files="[]"), ":5, models → tiny → files", "files: a list of at least one", "[]"),
        (lock(files="{}"), ":5, models → tiny → files", "files: a list of at least one", "{}"),
        (lock(files=None), ":2, models → tiny → files", "files: a list of at least one", "nothing"),
        (lock(files=files(file(), file('"b"'))), ":5, models → tiny → files", "one file, as the kind says", "2"),
        (lock(files=files("7")), ":5, models → tiny → files → 0", "path, size and sha256", "7"),
        (
            lock(kind='"folder"', files=files(file(), file())),
            ":6, models → tiny → files → 1 → path",
            "path: a name that no other file has",
            "'a'",
        ),
        (
            lock(files=files(file(path='""'))),
            ":5, models → tiny → files → 0 → path",
            "path: a name that no other file has",
            "''",
        ),
        (lock(files=files(file(size="-1"))), ":5, models → tiny → files → 0 → size", "size: a number of bytes", "-1"),
        (lock(files=files(file(size="1.5"))), ":5, models → tiny → files → 0 → size", "size: a number of bytes", "1.5"),
        (
            lock(files=files(file(size="true"))),
            ":5, models → tiny → files → 0 → size",
            "size: a number of bytes",
            "True",
        ),
        (
            lock(files=files(file(sha256=f'"{HEX.upper()}"'))),
            ":5, models → tiny → files → 0 → sha256",
            "sha256: 64 hexadecimal digits in lower case",
            repr(HEX.upper()),
        ),
        (b'{"version": 1,\n"models": {\n"tiny": []}}', ":3, models → tiny", "ref, kind and files", "[]"),
    ],
)
def test_faults_of_an_entry(data, place, expected, found):
    with pytest.raises(ConfigError) as raised:
        parse_lock(data, "/p/models.lock")
    (fault,) = raised.value.faults
    assert str(fault) == (
        "the entry 'tiny' of the lock file is not as this program writes it\n"
        f"  where     /p/models.lock{place}\n"
        f"  expected  {expected}\n"
        f"  found     {found}\n"
        "  fix       take the file from version control; or remove it, and `model-provisioner lock` makes it anew of what is there now"
    )


def test_a_name_that_no_file_can_have():
    """YAML has no such text, so the line can't be told."""
    with pytest.raises(ConfigError) as raised:
        parse_lock(lock(files=files(file(path=r'"\ud800"'))), "models.lock")
    (fault,) = raised.value.faults
    assert (fault.where, fault.expected) == ("models.lock", "path: a name that no other file has")


def test_every_fault_is_told_in_one_run():
    with pytest.raises(ConfigError) as raised:
        parse_lock(lock(ref="1", kind="2", files=files(file(size="x".join('""')))), "models.lock")
    assert [fault.where.partition(",")[0] for fault in raised.value.faults] == [f"models.lock:{n}" for n in (3, 4, 5)]


@pytest.mark.parametrize(
    ("data", "what", "where", "found"),
    [
        (b"", "the lock file is not JSON", ":1", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"version": 1,\n}', "the lock file is not JSON", ":2", None),
        (b"\xff", "the lock file is not JSON", "", None),
        (b"[" * 100_000, "the lock file is not JSON", "", None),
        (b"<<<<<<< ours\n{}\n", "the lock file holds an unresolved merge", ":1", None),
        (b"{}", "the lock file is of another version", "", "no version"),
        (b"[]", "the lock file is of another version", "", "no version"),
        (b'{"version": 2, "models": {}}', "the lock file is of another version", "", "version 2"),
        (b'{"version": true, "models": {}}', "the lock file is of another version", "", "version True"),
        (b'{"version": 1}', "the lock file is of another version", "", "version 1"),
    ],
)
def test_what_is_no_lock_file(data, what, where, found):
    with pytest.raises(ConfigError) as raised:
        parse_lock(data, "models.lock")
    (fault,) = raised.value.faults
    assert (fault.what, fault.where) == (what, f"models.lock{where}")
    assert found in (None, fault.found)


def test_a_name_that_stands_twice_as_a_merge_leaves_it():
    entry = lock().decode().split("{\n", 1)[1].removesuffix("}}")
    with pytest.raises(ConfigError) as raised:
        parse_lock(f'{{"version": 1, "models": {{\n{entry},\n{entry}}}}}'.encode(), "models.lock")
    (fault,) = raised.value.faults
    assert fault.where.startswith("models.lock:7")


@pytest.mark.parametrize("data", [b'[{"a": 1, "a": 2}]', b'{"version": 1, "version": 1, "models": {}}'])
def test_a_name_that_stands_twice_anywhere(data):
    with pytest.raises(ConfigError) as raised:
        parse_lock(data, "models.lock")
    assert [fault.where.partition(",")[0] for fault in raised.value.faults] == ["models.lock:1"]


# ---- companions

WEIGHTS = LockedFile(name="x.gguf", size=3, sha256=HEX)
TINY = Locked(ref="file:x.gguf", kind="file", revision=None, files=(WEIGHTS,))
STYLE = Locked(
    ref="hf:org/style@main",
    kind="folder",
    revision="c" * 40,
    files=(LockedFile(name="a", size=1, sha256=HEX), LockedFile(name="b", size=2, sha256=HEX)),
    role="lora",
)
SEE = Locked(ref="file:see.gguf", kind="file", revision=None, files=(WEIGHTS,), role="mmproj")


SOUND = {"role": "lora", "ref": "x", "kind": "file", "files": [{"path": "x", "size": 1, "sha256": HEX}]}


def test_companions_have_one_line_a_file_too():
    beside = Locked(ref=TINY.ref, kind="file", revision=None, files=(WEIGHTS,), companions=(SEE, STYLE))
    text = render_lock({"tiny": beside}).decode()
    line = f'"sha256": "{HEX}"'
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


def test_without_companions_the_lock_does_not_name_them():
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
def test_faults_of_companions(companions, found):
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
