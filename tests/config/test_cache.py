"""The parsed configuration as bytes: it comes back equal, or not at all."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.config.entries import ROLES, Claim, Companion, Config, Entry
from model_provisioner.config.load import parse_config
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.config.cache import MAGIC, parse, render, still_holds
from model_provisioner.references.mirror import Mirror
from model_provisioner.references.reference import HubRef, LocalRef, ObjectRef, UrlRef

KEY = "0123456789abcdef" * 4
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
PATHS = st.binary(min_size=1, max_size=9).map(lambda name: "/" + os.fsdecode(name.replace(b"\0", b"x")))
HEX = st.integers(0, 16**64 - 1).map("{:064x}".format)
DIGESTS = st.builds(Digest, st.sampled_from(["sha256", "dirhash"]), HEX)
SETS = st.dictionaries(PATHS, HEX.map(lambda value: Digest("sha256", value)), min_size=1, max_size=3).map(
    lambda files: SetDigest(tuple(sorted(files.items(), key=lambda file: os.fsencode(file[0]))))
)
KEYS = st.from_regex(r"[a-z%é][a-z @?#%é]{0,9}", fullmatch=True)
REFS = (
    PATHS.map(LocalRef.at)
    | st.builds(HubRef, st.just("org/repo"), st.none() | st.sampled_from(["v1", "refs/pr/1", "ä"]), st.none() | KEYS)
    | st.from_regex(r"https://host(:80)?/[a-z%.-]{1,9}", fullmatch=True).map(UrlRef)
    | st.builds(ObjectRef, st.just("bucket"), KEYS)
)
ENTRIES = st.builds(
    Entry,
    name=NAMES,
    ref=REFS,
    expected=st.none() | DIGESTS | SETS,
    strict=st.booleans(),
    engine=NAMES.map(str.lower),
    handoff=PATHS,
    line=st.integers(1, 10**6),
    companions=st.lists(
        st.builds(Companion, role=st.sampled_from(ROLES), ref=REFS, expected=st.none() | DIGESTS | SETS), max_size=3
    ).map(tuple),
    keep=st.booleans(),
    signature=st.none()
    | st.builds(Claim, bundle=PATHS, public_key=PATHS)
    | st.builds(Claim, bundle=PATHS, identity=NAMES, issuer=NAMES),
)


def configuration(entries, **fields):
    given = {
        "path": "/p/m.yaml",
        "root": "/p",
        "cache_dir": "/c",
        "runtime_dir": "/p/r",
        "allow": (),
        "answers": (),
    }
    by_name = {entry.name: entry for entry in entries}
    handoffs = tuple(entry.handoff for entry in by_name.values())
    fields["remote"] = tuple(entry.name for entry in by_name.values() if not entry.ref.is_local)
    return Config(**{**given, "recheck": "xxh3", "entries": by_name, "handoffs": handoffs, **fields})


CONFIGS = st.builds(
    configuration,
    st.lists(ENTRIES, max_size=4),
    path=PATHS,
    root=PATHS,
    cache_dir=PATHS,
    runtime_dir=PATHS,
    allow=st.lists(NAMES, max_size=2).map(tuple),
    recheck=st.sampled_from(["xxh3", "sha256"]),
    answers=st.lists(st.tuples(PATHS, PATHS), max_size=3).map(tuple),
    max_size=st.none() | st.integers(0, 2**60),
    mirrors=st.lists(
        st.sampled_from(["s3://models/cache/", "https://host:8443/", "oci:host.example/repo"]).map(Mirror.parse),
        max_size=2,
    ).map(tuple),
)


@given(CONFIGS)
def test_what_was_written_is_read(config):
    again = parse(render(config, KEY), KEY)
    assert again == config
    assert list(again.entries) == list(config.entries)
    assert [entry.ref.id for entry in again.entries.values()] == [entry.ref.id for entry in config.entries.values()]
    assert again.links == config.links
    assert render(again, KEY) == render(config, KEY)


def test_a_file_that_was_parsed_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / "link")
    text = b"""\
models:
  a: {model_ref: link/x, handoff: 'link/{name}'}
  b: {model_ref: hf:org/repo@v1/x, engine: vllm, strict_verification: false, expected_digest: 'dirhash:%s'}
"""
    config = parse_config(text % KEY.encode(), "models.yaml")
    again = parse(render(config, KEY), KEY)
    assert again == config
    assert still_holds(again)
    assert again.links == ((f"{tmp_path}/link", f"{tmp_path}/real"),)


def test_entries_are_made_when_they_are_asked_for():
    config = configuration([entry("a"), entry("b")])
    again = parse(render(config, KEY), KEY).entries
    assert ("a" in again, "c" in again, len(again)) == (True, False, 2)
    assert again.keys() == {"a", "b"}
    assert again["a"] is again["a"]
    assert again.get("c") is None
    with pytest.raises(KeyError):
        again["c"]
    with pytest.raises(TypeError):
        again["c"] = again["a"]


def entry(name, ref=None, **fields):
    given = {"expected": None, "strict": True, "engine": "e", "handoff": f"/p/{name}", "line": 1}
    return Entry(name=name, ref=ref or LocalRef.at(f"/m/{name}"), **{**given, **fields})


def test_a_local_reference_is_not_looked_for_again(tmp_path):
    os.symlink("elsewhere", tmp_path / "link")
    path = f"{tmp_path}/link/x"
    (again,) = parse(render(configuration([entry("a", LocalRef.at(path))]), KEY), KEY).entries.values()
    assert again.ref.absolute("/") == LocalRef(path)
    assert again.ref.id == f"local:{path}"


@pytest.mark.parametrize(
    "url",
    ["https://user:pw@host/x", "https://token@host/x", "https://host/x?sig=pw", "https://host/x#pw", "https://h/x?"],
)
def test_what_may_hold_a_secret_is_not_written(url):
    assert render(configuration([entry("a"), entry("b", UrlRef(url))]), KEY) is None


def test_hosts_with_credentials_are_not_written():
    assert render(configuration([], allow=("user:pw@host",)), KEY) is None


def test_a_companion_that_may_hold_a_secret_is_not_written():
    (url,) = parse_config(
        b"models: {a: {model_ref: x, lora: 'https://host/x?sig=pw'}}", "/p/models.yaml", environ={}
    ).entries.values()
    assert render(configuration([url]), KEY) is None


def test_a_url_without_a_secret_is_written():
    ref = UrlRef("https://host/x%20y.gguf")
    (again,) = parse(render(configuration([entry("a", ref)]), KEY), KEY).entries.values()
    assert again.ref == ref


def test_another_key_says_nothing():
    data = render(configuration([]), KEY)
    assert parse(data, KEY[::-1]) is None
    assert parse(data, KEY[:-1]) is None


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_one_says_nothing(place, byte):
    data = bytearray(render(configuration([entry("a")]), KEY))
    place %= len(data)
    if data[place] == byte:
        byte ^= 1
    data[place] = byte
    assert parse(bytes(data), KEY) is None
    assert parse(bytes(data[:place]), KEY) is None
    assert parse(bytes(data) + b"x", KEY) is None


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC + KEY.encode() + b"\n", b"garbage" * 100])
def test_another_file_says_nothing(data):
    assert parse(data, KEY) is None


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A configuration, parsed, of a project of a linked folder and a home."""
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "sub"):
        (tmp_path / name).mkdir()
    os.symlink("one", tmp_path / "link")
    config = parse_config(b"model_ref: link/x\ncache_dir: ~/c\nhandoff: sub/h", "m.yaml")
    assert still_holds(config)
    return config


def repoint(path, target):
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    "change",
    [
        lambda path, monkeypatch: repoint(path / "link", "two"),
        lambda path, monkeypatch: (path / "link").unlink(),
        lambda path, monkeypatch: [(path / "sub").rmdir(), (path / "sub").symlink_to("two")],
        lambda path, monkeypatch: (path / "sub" / "h").mkdir(),
        lambda path, monkeypatch: (path / "sub" / "h").symlink_to("../two"),
        lambda path, monkeypatch: monkeypatch.setenv("HOME", "/elsewhere"),
        lambda path, monkeypatch: monkeypatch.chdir("one"),
        lambda path, monkeypatch: [(path / "three").mkdir(), monkeypatch.chdir("three"), (path / "three").rmdir()],
    ],
    ids=["link", "link gone", "folder to link", "folder", "link to folder", "home", "working folder", "no folder"],
)
def test_another_answer_of_the_machine_ends_it(held, tmp_path, monkeypatch, change):
    change(tmp_path, monkeypatch)
    assert not still_holds(held)


def test_what_the_file_does_not_name_does_not_matter(held, tmp_path):
    (tmp_path / "sub" / "other").mkdir()
    (tmp_path / "sub" / "h").write_text("{}")
    (tmp_path / "one" / "x").write_text("model")
    assert still_holds(held)


def test_to_read_it_takes_no_parser(run_python):
    data = render(configuration([entry("a", expected=Digest("sha256", KEY))]), KEY)
    parsers = ("pydantic", "pydantic_core", "yaml", "_yaml", "model_provisioner.config.document")
    assert (
        run_python(
            "import sys\n"
            "from model_provisioner.config.cache import parse, still_holds\n"
            f"config = parse({data!r}, {KEY!r})\n"
            "assert still_holds(config) and config.entries['a'].engine == 'e'\n"
            f"print([name for name in {parsers!r} if name in sys.modules])"
        )
        == "[]\n"
    )


def test_it_is_json_behind_three_lines():
    *_, body = render(configuration([entry("a")]), KEY).split(b"\n", 3)
    assert json.loads(body)["refs"] == ["local:/m/a"]
