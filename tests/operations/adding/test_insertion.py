"""Values are added to a file of any layout, and every byte that is there stays."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.config.document import read_document
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.operations.adding.insertion import with_added

NEW = {"new": {"model_ref": "file:new.gguf"}}


def parts(before: bytes, after: bytes) -> bytes:
    """Return the one piece that was added; all other bytes are as they were."""
    same = next((at for at, (old, new) in enumerate(zip(before, after)) if old != new), len(before))
    added = len(after) - len(before)
    # A piece may begin with the bytes that follow it, so that it seems to begin later.
    places = [at for at in range(same, -1, -1) if before[:at] == after[:at] and before[at:] == after[at + added :]]
    assert places, f"more than one piece differs: {after!r}"
    return after[places[0] : places[0] + added]


def added(text: str, path=("models",), new=NEW) -> str:
    before = text.encode()
    after = with_added(before, "models.yaml", path, new)
    parts(before, after)
    return after.decode()


LAYOUTS = {
    "": 'models:\n  new:\n    model_ref: "file:new.gguf"\n',
    "# a comment\n": '# a comment\nmodels:\n  new:\n    model_ref: "file:new.gguf"\n',
    "---\n": '---\nmodels:\n  new:\n    model_ref: "file:new.gguf"\n',
    "models:\n": 'models:\n  new:\n    model_ref: "file:new.gguf"\n',
    "models: # none yet\n\nrecheck: xxh3\n": (
        'models: # none yet\n  new:\n    model_ref: "file:new.gguf"\n\nrecheck: xxh3\n'
    ),
    "models: {}\n": 'models: {new: {model_ref: "file:new.gguf"}}\n',
    "recheck: xxh3": 'recheck: xxh3\nmodels:\n  new:\n    model_ref: "file:new.gguf"',
    "models:\n    a:\n        model_ref: a  # this\n    # the end\nrecheck: xxh3\n": (
        'models:\n    a:\n        model_ref: a  # this\n    new:\n        model_ref: "file:new.gguf"\n'
        "    # the end\nrecheck: xxh3\n"
    ),
    "models:\r\n  a: {model_ref: a}\r\n": (
        'models:\r\n  a: {model_ref: a}\r\n  new:\r\n    model_ref: "file:new.gguf"\r\n'
    ),
    "models:\n  a: {model_ref: a}": 'models:\n  a: {model_ref: a}\n  new:\n    model_ref: "file:new.gguf"',
    "models: {a: {model_ref: a}}\n": 'models: {a: {model_ref: a}, new: {model_ref: "file:new.gguf"}}\n',
    "models: {a: {model_ref: a}, }\n": 'models: {a: {model_ref: a}, new: {model_ref: "file:new.gguf"}, }\n',
    "models: {\n  a: {model_ref: a},  # one, two\n  b: {model_ref: b}  # three, four\n}\n": (
        'models: {\n  a: {model_ref: a},  # one, two\n  b: {model_ref: b},\n  new: {model_ref: "file:new.gguf"}'
        "  # three, four\n}\n"
    ),
    "x: &x {model_ref: a}\nmodels: &m\n  a: *x\n": (
        'x: &x {model_ref: a}\nmodels: &m\n  a: *x\n  new:\n    model_ref: "file:new.gguf"\n'
    ),
    "models:\n  a:\n    model_ref: |\n      a\n\n...\n": (
        'models:\n  a:\n    model_ref: |\n      a\n\n  new:\n    model_ref: "file:new.gguf"\n...\n'
    ),
    "cache_dir: |\n  a": 'models:\n  new:\n    model_ref: "file:new.gguf"\ncache_dir: |\n  a',
    "{models: {a: {model_ref: a}}}": '{models: {a: {model_ref: a}, new: {model_ref: "file:new.gguf"}}}',
    '{\n\t"models": {\n\t\t"\\ud83e\\udd99": {"model_ref": "a"}\n\t}\n}\n': (
        '{\n\t"models": {\n\t\t"\\ud83e\\udd99": {"model_ref": "a"},\n\t\t"new": {"model_ref": "file:new.gguf"}\n\t}\n}\n'
    ),
}


@pytest.mark.parametrize("text", LAYOUTS)
@pytest.mark.parametrize("has_libyaml", [True, False])
def test_an_entry_is_written_in_the_manner_of_the_file(monkeypatch, has_libyaml, text):
    if not has_libyaml:  # PyYAML's own parser is used where it was built without
        monkeypatch.delattr(yaml, "CSafeLoader")
    assert added(text) == LAYOUTS[text]


def test_a_byte_order_mark_stays():
    assert with_added(b"\xef\xbb\xbfmodels: {}", "f", ("models",), NEW).startswith(b"\xef\xbb\xbfmodels: {new")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "network:\n  allow: [huggingface]\n"),
        ("network:\n", "network:\n  allow: [huggingface]\n"),
        ("network: {}\n", "network: {allow: [huggingface]}\n"),
        ("network: {allow: []}\n", "network: {allow: [huggingface]}\n"),
        ("network:\n  allow: [a.b] # c\n", "network:\n  allow: [a.b, huggingface] # c\n"),
        ("network:\n  allow:\n  - a.b\n", "network:\n  allow:\n  - a.b\n  - huggingface\n"),
        ("network:\n  allow:\n    -   a.b\nx: y", "network:\n  allow:\n    -   a.b\n    - huggingface\nx: y"),
        ("network:\n  # none\n  allow:\n", "network:\n  # none\n  allow:\n    - huggingface\n"),
    ],
)
def test_a_host_is_added_to_a_list(text, after):
    assert added(text, ("network", "allow"), ["huggingface"]) == after


@pytest.mark.parametrize("name", ["1.5", "1.", "null", "yes", "0x1F", "2020-01-01", "1_000", "on"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(name):
    assert f'  "{name}":\n' in added("models:\n  a: {}\n", new={name: {"model_ref": "x"}})


@pytest.mark.parametrize("text", ["models: null\n", "models: []\n", "models: text\n", "x: &x {}\nmodels: *x\n", "[]\n"])
def test_where_there_is_no_place_the_lines_are_told(text):
    with pytest.raises(InputError) as told:
        added(text)
    assert str(told.value).startswith(
        "nothing can be added to a file of this layout\n  where     models.yaml: models\n"
    )
    assert "add this to it by hand:" in told.value.fix
    assert yaml.safe_load(told.value.fix.partition("by hand:   ")[2]) == {"models": NEW}


@pytest.mark.parametrize("data", [b"models: [", b"\xff", b"a: 1\na: 2\n", b"a: 1\n---\nb: 1\n", b"a:\tb\n\t- c"])
def test_a_file_that_can_not_be_read_is_told_as_ever(data):
    with pytest.raises(ConfigError):
        with_added(data, "models.yaml", ("models",), NEW)


# ---- any layout


NAMES = st.text("abcXYZ019._-", min_size=1, max_size=6).filter(lambda name: name[0] not in "._-")
WORDS = NAMES | st.sampled_from(["é", "🦙", "a # b", "it's", 'say "a"', "", " ", "C:\\x", "\x85", "x: y", "{", "- a"])
COMMENTS = st.sampled_from(["", "  # a comment, with a comma", " #é🦙 {", "   "])
BREAKS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def scalars(draw, in_flow=False):
    word = draw(WORDS)
    style = draw(
        st.sampled_from(["plain", "single", "double"] if in_flow else ["plain", "single", "double", "|", ">-"])
    )
    if style == "plain" and word.isalnum() and word.isascii():
        return word
    if style == "single" and "\x85" not in word:
        return "'" + word.replace("'", "''") + "'"
    if style in ("|", ">-") and word.strip() and "\x85" not in word:
        return f"{style}\v{word.strip()}"
    return json.dumps(word)


@st.composite
def flows(draw, depth=2):
    pad, comma = draw(st.sampled_from(["", " ", "\n   ", " # c, }\n  "])), draw(st.sampled_from(["", ",", " ,"]))
    fields = draw(st.dictionaries(NAMES, flows(depth - 1) if depth else scalars(in_flow=True), max_size=3))
    inner = f",{pad or ' '}".join(f"{json.dumps(name)}: {value}" for name, value in fields.items())
    return "{" + pad + inner + (comma if fields else "") + pad + "}"


@st.composite
def layouts(draw):
    """Yield a file with models, or none, among other things."""
    step = draw(st.sampled_from([1, 2, 4]))
    lines = draw(st.lists(st.sampled_from(["# head", "", "   "]), max_size=2))
    if draw(st.booleans()):
        lines.append("---")

    def value(column):
        if draw(st.booleans()):
            text = draw(scalars())
            style, bar, rest = text.partition("\v")
            return [f" {style}", f"{' ' * (column + step)}{rest}"] if bar else [f" {text}{draw(COMMENTS)}"]
        return [f" {part}" if not at else part for at, part in enumerate(draw(flows(1)).split("\n"))]

    def mapping(names, column, depth):
        for name in names:
            first, *more = value(column) if not depth else [draw(COMMENTS)]
            lines.append(f"{' ' * column}{json.dumps(name)}:{first}")
            lines.extend(more)
            if depth:
                mapping(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)), column + step, depth - 1)
            if draw(st.booleans()):
                lines.extend(draw(st.sampled_from([[""], ["# between"], [" " * column + "# below", ""]])))

    keys = draw(
        st.lists(st.sampled_from(["cache_dir", "network", "models", "defaults", "xé🦙"]), max_size=4, unique=True)
    )
    for key in keys:
        if key != "models":
            mapping([key], 0, draw(st.sampled_from([0, 1])))
            continue
        kind = draw(st.sampled_from(["block", "flow", "none"]))
        anchor = draw(st.sampled_from(["", " &m", " !!map"]))
        if kind == "flow":
            lines.extend(f"models:{anchor} {draw(flows())}".split("\n"))
        elif kind == "none":
            lines.append(f"models:{draw(COMMENTS)}")
        else:
            lines.append(f"models:{anchor}{draw(COMMENTS)}")
            mapping(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)), step, 1)
    if draw(st.booleans()) and keys:
        lines.append("...")
    text = draw(BREAKS).join(lines)
    return (
        text + draw(st.sampled_from(["", draw(BREAKS)]))
        if "\r" not in text
        else text + draw(st.sampled_from(["", "\r"]))
    )


FIELDS = st.dictionaries(st.sampled_from(["model_ref", "expected_digest", "handoff"]), WORDS, min_size=1)


@given(layouts(), st.dictionaries(NAMES.map(lambda name: f"n{name}n"), FIELDS, min_size=1, max_size=3), st.booleans())
def test_of_any_layout_every_byte_stays_and_what_is_added_is_read(text, new, has_mark):
    before = (b"\xef\xbb\xbf" if has_mark else b"") + text.encode()
    try:
        old = read_document(before, "f")
    except ConfigError:
        return
    if old.faults or not isinstance(old.data, dict | None):
        return
    if not isinstance((old.data or {}).get("models"), dict | None):
        return
    after = with_added(before, "f", ("models",), new)
    parts(before, after)
    found = read_document(after, "f").data
    models = (old.data or {}).get("models") or {}
    assert found == {**(old.data or {}), "models": {**models, **new}}


@given(
    st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    WORDS,
)
def test_json_stays_json(some, indent, ascii, word):
    text = json.dumps({"models": {"a": some}}, indent=indent, ensure_ascii=ascii)
    try:
        if read_document(text.encode(), "f").faults:
            return
    except (ConfigError, UnicodeEncodeError):
        return
    after = with_added(text.encode(), "f", ("models",), {"new": {"model_ref": word}})
    parts(text.encode(), after)
    assert json.loads(after) == {"models": {"a": some, "new": {"model_ref": word}}}
