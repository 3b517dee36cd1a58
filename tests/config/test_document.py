"""YAML and JSON as data: what is read, which line it stands in, and what is refused before anything is built of it."""

import json
import math
import time

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from model_provisioner.errors import ConfigError
from model_provisioner.config.document import MAX_DEPTH, Document, read_document
from model_provisioner.config.faults import MAX_FAULTS, MAX_SHOWN, shown

LLAMA = "\N{LLAMA}"


def read(text):
    return read_document(text if isinstance(text, bytes) else text.encode(), "m.yaml")


def lines_of(document):
    """Return the line of every value by its path."""
    found, left = {}, [] if document.source_map.top is None else [((), document.source_map.top)]
    for path, place in left:
        inner = {} if isinstance(place, int) else place[1]
        found[path] = document.source_map.line(path)
        left += (((*path, step), each) for step, each in inner.items())
    return found


def refused(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.path == "m.yaml"
    assert caught.value.exit_code == 3
    return str(caught.value)


def one_fault(text):
    """Return the one fault of a text that can't be read."""
    head, _, fault = refused(text).partition("\n\n")
    assert head == "m.yaml: 1 fault"
    return fault


# ---- what values mean


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"),
        ("'1'", "1"),
        ('"1"', "1"),
        ("! 1", "1"),
        ("!!str 1", "1"),
        ('"\\x41"', "A"),
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("nul", "nul"),
        ("!!null ''", None),
        ("true", True),
        ("on", True),
        ("Yes", True),
        ("OFF", False),
        ("no", False),
        ("y", "y"),
        ("n", "n"),
        ("oN", "oN"),
        ("1", 1),
        ("-1", -1),
        ("+1_000", 1000),
        ("017", 15),
        ("0o17", "0o17"),
        ("08", "08"),
        ("0x1F", 31),
        ("0b11", 3),
        ("190:20:30", 685230),
        ("12:30", 750),
        ("1.5", 1.5),
        ("1:30.5", 90.5),
        ("1e5", "1e5"),
        ("1.0e+5", 100000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01 10:00:00", "2020-01-01 10:00:00"),
        ("!!timestamp 2020-01-01", "2020-01-01"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("v1", "v1"),
        ("file:x", "file:x"),
        ("https://host/x#y", "https://host/x#y"),
        ("x # y", "x"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">\n  a\n  b\n", "a b\n"),
        ("[]", []),
        ("{}", {}),
        ("[a, [b]]", ["a", ["b"]]),
        ("!!seq [a]", ["a"]),
        ("!!map {a: b}", {"a": "b"}),
        (LLAMA, LLAMA),
        ('"\\U0001F999"', LLAMA),
    ],
)
def test_what_values_mean(text, value):
    document = read(f"key: {text}")
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)
    assert document.faults == ()


def test_not_a_number_is_a_number():
    assert math.isnan(read(".nan").data)


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "---", "---\n...\n", "\ufeff", "null", "~", " \n \n"])
def test_an_empty_file_is_nothing(text):
    assert read(text) == Document("m.yaml", None, read(text).source_map)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("\ufeffa: b", {"a": "b"}),
        ("a: b\r\nc: d\r\n", {"a": "b", "c": "d"}),
        ("a: b\rc: d", {"a": "b", "c": "d"}),
        ("---\na: b\n...\n", {"a": "b"}),
        ("%YAML 1.1\n---\na: b", {"a": "b"}),
        ("- a\n-\n  - b\n- - c", ["a", ["b"], ["c"]]),
        ("? a\n: b", {"a": "b"}),
        ("a:\n- b\n- c", {"a": ["b", "c"]}),
        ("a: &x", {"a": None}),
        ("a: b\n c", {"a": "b c"}),
        ("'': 1", {"": 1}),
        ("a: \t b", {"a": "b"}),
        ("{a, b: c}", {"a": None, "b": "c"}),
    ],
)
def test_what_else_is_read(text, data):
    assert read(text).data == data


# ---- JSON


@pytest.mark.parametrize("indent", [None, 2, "\t", "\t\t"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",\t", "\t:\t"), ("\t,", ":")])
@pytest.mark.parametrize("ascii", [True, False])
def test_json_is_read_however_it_is_laid_out(indent, separators, ascii):
    data = {
        "a": [1, -2, [], {}, None, True, 1.5],
        "b c": {"d": 'tab \t quote " backslash \\ slash / é', "e": LLAMA},
        LLAMA: "\\ud83e\\udd99",
        "f": "\\" + LLAMA,
    }
    text = json.dumps(data, indent=indent, separators=separators, ensure_ascii=ascii)
    assert read(text).data == data
    assert read(f"\ufeff\n\t{text}\t\n").data == data


def test_the_lines_of_json_with_tabs_are_those_of_the_file():
    assert lines_of(read('{\n\t"a": 1,\n\t"b": [\n\t\t"🦙\\ud83e\\udd99",\n\t\t2\n\t]\n}')) == {
        (): 1,
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 5,
    }


def test_a_key_that_stands_twice_is_told_in_json_with_tabs_too():
    document = read('{\n\t"a": 1,\n\t"a": 2\n}')
    assert [str(fault) for fault in document.faults] == [
        "'a' stands twice\n  where     m.yaml:3\n  expected  each name once\n  found     lines 2 and 3\n  fix       keep one of the two"
    ]


@pytest.mark.parametrize("text", ['{"a": "\\ud83e"}', '{"a": "\\udd99\\ud83e"}', "{a: '\t', b: \"\\ud83e\\udd99\"}"])
def test_half_a_character_is_refused(text):
    assert "found invalid Unicode character escape code" in one_fault(text)


# ---- lines and places


TEXT = """\
# a comment

a: 1
b:
  c: x

  d:
    - 1
    - [2,
       3]
    - e: |
        long

        text
      f: 4
"""


def test_lines_of_values():
    document = read(TEXT)
    assert lines_of(document) == {
        (): 3,
        ("a",): 3,
        ("b",): 4,
        ("b", "c"): 5,
        ("b", "d"): 7,
        ("b", "d", 0): 8,
        ("b", "d", 1): 9,
        ("b", "d", 1, 0): 9,
        ("b", "d", 1, 1): 10,
        ("b", "d", 2): 11,
        ("b", "d", 2, "e"): 11,
        ("b", "d", 2, "f"): 15,
    }


def test_a_value_that_is_not_in_the_file_has_the_line_of_what_is_around_it():
    document = read(TEXT)
    assert document.source_map.line(("b", "d", 2, "g", "h")) == 11
    assert document.source_map.line(("x", "y")) == 3
    assert read("").source_map.line(("x",)) == 1


def test_what_an_alias_stands_for_has_the_line_of_the_alias():
    document = read("a: &x\n  b: 1\nc:\n  d: *x")
    assert document.source_map.line(("a", "b")) == 2
    assert document.source_map.line(("c", "d", "b")) == 4


@pytest.mark.parametrize("text", ["\n\nword", "# x\n\n- a", "\n\r\na: b", "\n\n{a: b}", "\n\n!!str a"])
def test_the_line_of_the_whole(text):
    assert read(text).source_map.line(()) == 3


def test_a_place_in_words():
    document = read(TEXT)
    assert document.where(()) == "m.yaml:3"
    assert document.where(("b", "d", 1)) == "m.yaml:9, b → d → 1"


def test_a_place_is_safe_to_print():
    assert read('"a\\e[31m": 1').where(("a\x1b[31m",)) == "m.yaml:1, a\\x1b[31m"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("word", "word"),
        ("a\nb", "a\\nb"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("https://u:secret@h/x", "https://…"),
        ("HTTPS:u:secret@h/x", "HTTPS:…"),
        ("model_ref:https://u:secret@h/x y", "model_ref:https://…"),
        ("s3://secret", "s3://…"),
        ("x" * 70 + "https://" + "secret", "x" * 70 + "https://…"),
        ("x" * 90 + "https://" + "secret", "x" * 79 + "…"),
    ],
)
def test_what_a_message_shows_of_a_text(text, short):
    assert shown(text) == short
    assert len(short) <= MAX_SHOWN


# ---- anchors, aliases and merges


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &x 1\nb: *x", {"a": 1, "b": 1}),
        ("a: &x [1]\nb: [*x, *x]", {"a": [1], "b": [[1], [1]]}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("a: &x {k: 1}\nb:\n  <<: *x\n  l: 2", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
        ("a: &x {k: 1, l: 1}\nb: {k: 2, <<: *x}", {"a": {"k": 1, "l": 1}, "b": {"k": 2, "l": 1}}),
        ("a: &x {k: 1, l: 1}\nb: {<<: *x, k: 2}", {"a": {"k": 1, "l": 1}, "b": {"k": 2, "l": 1}}),
        ("<<: [{a: 1}, {a: 2, b: 2}]", {"a": 1, "b": 2}),
        ("<<: {a: 1}\n<<: {a: 2, b: 2}", {"a": 1, "b": 2}),
        ("a: &x {<<: {k: 1}}\nb: {<<: *x}", {"a": {"k": 1}, "b": {"k": 1}}),
        ("<<: []\na: 1", {"a": 1}),
        ("<<: {}", {}),
        ("- <<", ["<<"]),
    ],
)
def test_aliases_and_merges(text, data):
    document = read(text)
    assert document.data == data
    assert document.faults == ()


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), max_size=3), st.permutations("abc"))
def test_merging_is_what_pyyaml_does(merged, own):
    lines = [f"m{number}: &m{number} {json.dumps(each)}" for number, each in enumerate(merged)]
    aliases = ", ".join(f"*m{number}" for number in range(len(merged)))
    text = "\n".join([*lines, "all:", f"  {own[0]}: own", f"  <<: [{aliases}]", f"  {own[1]}: own"])
    assert read(text).data == yaml.safe_load(text)


# ---- what is refused, and how it is said


SYNTAX_EXPECTED = '  expected  names and values, as in   models: {tiny: {model_ref: "file:models/tiny.gguf"}}\n'
SYNTAX_FIX = "  fix       look at this line and the one before: indent, colons, quotes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 'b\nc: d\n",
            "this is not YAML\n  where     m.yaml:3\n"
            + SYNTAX_EXPECTED
            + "  found     while scanning a quoted scalar, found unexpected end of stream\n"
            + SYNTAX_FIX,
        ),
        (
            "a: b: c",
            "this is not YAML\n  where     m.yaml:1\n"
            + SYNTAX_EXPECTED
            + "  found     mapping values are not allowed in this context\n"
            + SYNTAX_FIX,
        ),
        (
            "a: [b\nc: d",
            "this is not YAML\n  where     m.yaml:2\n"
            + SYNTAX_EXPECTED
            + "  found     while parsing a flow sequence, did not find expected ',' or ']'\n"
            + SYNTAX_FIX,
        ),
        (
            "%YAML 2.0\n---\na: b",
            "this is not YAML\n  where     m.yaml:1\n"
            + SYNTAX_EXPECTED
            + "  found     found incompatible YAML document\n"
            + SYNTAX_FIX,
        ),
        (
            "a:\n\tb: 1",
            "a tab stands where YAML wants spaces\n  where     m.yaml:2\n  expected  spaces\n  found     a tab\n  fix       indent with spaces",
        ),
        (
            "a:\n  \t- b",
            "a tab stands where YAML wants spaces\n  where     m.yaml:2\n  expected  spaces\n  found     a tab\n  fix       indent with spaces",
        ),
        (
            "é: é\n\n  a\n \n b:\n\tc: 2",
            "this is not YAML\n  where     m.yaml:5\n"
            + SYNTAX_EXPECTED
            + "  found     mapping values are not allowed in this context\n"
            + SYNTAX_FIX,
        ),
        (
            "é:\n  b: 1\n\tc: 2",
            "a tab stands where YAML wants spaces\n  where     m.yaml:3\n  expected  spaces\n  found     a tab\n  fix       indent with spaces",
        ),
        (
            b"a: b\nc: \xff",
            "the file is not UTF-8\n  where     m.yaml:2\n  expected  UTF-8\n  found     byte 0xff at offset 8\n"
            "  fix       save it as UTF-8",
        ),
        (
            "a: b".encode("utf-16"),
            "the file is not UTF-8\n  where     m.yaml:1\n  expected  UTF-8\n  found     UTF-16\n"
            "  fix       save it as UTF-8",
        ),
        (
            b"\xfe\xff" + "a: b".encode("utf-16-be"),
            "the file is not UTF-8\n  where     m.yaml:1\n  expected  UTF-8\n  found     UTF-16\n"
            "  fix       save it as UTF-8",
        ),
        (
            "a: b".encode("utf-16-le"),
            "the file holds a NUL character\n  where     m.yaml:1\n  expected  text\n  found     U+0000\n"
            "  fix       remove it, or take the file from version control if it is damaged",
        ),
        (
            "a: b\nc: \0",
            "the file holds a NUL character\n  where     m.yaml:2\n  expected  text\n  found     U+0000\n"
            "  fix       remove it, or take the file from version control if it is damaged",
        ),
        (
            'a: b\nc: "\\0"',
            "a text holds a NUL character\n  where     m.yaml:2\n"
            "  expected  text\n  found     the escape sequence of U+0000\n  fix       remove its escape sequence",
        ),
        (
            '{"\\u0000": 1}',
            "a text holds a NUL character\n  where     m.yaml:1\n"
            "  expected  text\n  found     the escape sequence of U+0000\n  fix       remove its escape sequence",
        ),
        (
            "é: é\né: é\n\x01\nb\nc\nd",
            "the file holds a character that YAML does not allow\n  where     m.yaml:3\n  expected  text\n  found     U+0001\n"
            "  fix       remove it",
        ),
        (
            "a: \x1b[31m",
            "the file holds a character that YAML does not allow\n  where     m.yaml:1\n  expected  text\n  found     U+001B\n"
            "  fix       remove it",
        ),
        (
            "a: 1\n---\nb: 2",
            "the file holds more than one document\n  where     m.yaml:2\n"
            "  expected  one document\n  found     a line '---' that begins another\n"
            "  fix       remove that line, and what follows it",
        ),
        (
            "a: 1\n---",
            "the file holds more than one document\n  where     m.yaml:2\n"
            "  expected  one document\n  found     a line '---' that begins another\n"
            "  fix       remove that line, and what follows it",
        ),
        (
            "a:\n  !!python/object:os.system x",
            "a YAML tag is not accepted\n  where     m.yaml:2\n  expected  plain values\n"
            "  found     tag:yaml.org,2002:python/object:os.system\n  fix       remove the tag",
        ),
        (
            "a: !mine {b: c}",
            "a YAML tag is not accepted\n  where     m.yaml:1\n  expected  plain values\n  found     !mine\n"
            "  fix       remove the tag",
        ),
        (
            "a: *b",
            "the alias *b names nothing\n  where     m.yaml:1\n  expected  &b before a value further up\n"
            "  found     no &b above this line\n"
            '  fix       write &b before the value that is meant, or the text in quotes: "*b"',
        ),
        (
            "a: &b\n  - *b",
            "the alias *b stands inside the value that it names\n  where     m.yaml:2\n"
            "  expected  a value that ends before its alias\n  found     *b in the value of &b\n"
            "  fix       write the value out",
        ),
        (
            "a: &b\n  <<: *b",
            "the alias *b stands inside the value that it names\n  where     m.yaml:2\n"
            "  expected  a value that ends before its alias\n  found     *b in the value of &b\n"
            "  fix       write the value out",
        ),
        (
            "a: &b c\n*b : d",
            "an alias can't be a name\n  where     m.yaml:2\n  expected  a plain name\n  found     *b\n  fix       write the name out",
        ),
        (
            "? [a]\n: b",
            "a name is not a text\n  where     m.yaml:1\n  expected  a plain name\n  found     a list\n"
            "  fix       write a plain name before the colon",
        ),
        (
            "a: 1\n? {b: c}\n: d",
            "a name is not a text\n  where     m.yaml:2\n  expected  a plain name\n  found     a mapping\n"
            "  fix       write a plain name before the colon",
        ),
        (
            "a: 1\n<<: 5",
            "<< takes a mapping, or a list of them\n  where     m.yaml:2\n  expected  an alias of a mapping\n  found     a number\n"
            "  fix       name a mapping by its alias",
        ),
        (
            "<<: [{a: b}, c]",
            "<< takes a mapping, or a list of them\n  where     m.yaml:1\n  expected  an alias of a mapping\n  found     a list\n"
            "  fix       name a mapping by its alias",
        ),
        (
            "a: !!int b",
            "not a value of the type int\n  where     m.yaml:1\n  expected  a value of the type int, or a text in quotes\n  found     b\n  fix       put it in quotes",
        ),
        (
            "a: !!bool maybe",
            "not a value of the type bool\n  where     m.yaml:1\n  expected  a value of the type bool, or a text in quotes\n  found     maybe\n  fix       put it in quotes",
        ),
        (
            "a: !!float ''",
            "not a value of the type float\n  where     m.yaml:1\n  expected  a value of the type float, or a text in quotes\n  fix       put it in quotes",
        ),
        (
            "a:\n  " + "9" * 101,
            f"not a value of the type int\n  where     m.yaml:2\n  expected  a value of the type int, or a text in quotes\n  found     {'9' * 79}…\n  fix       put it in quotes",
        ),
        (
            "[" * 65 + "]" * 65,
            "the values nest too deeply\n  where     m.yaml:1\n  expected  at most 64 levels\n  found     more\n"
            "  fix       write it flatter",
        ),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in ["ab", "bc", "cd", "de", "ef", "fg"]),
            "the file expands to too many values\n  where     m.yaml:6\n  expected  at most 1,000,000\n"
            "  found     more, with what the aliases stand for\n"
            "  fix       use fewer aliases",
        ),
    ],
)
def test_what_is_refused_and_how_it_is_said(text, message):
    assert one_fault(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "a: !!set {b}",
        "a: !!omap [b: c]",
        "a: !!binary aGk=",
        "!<tag:example.org,2000:x> a",
        "a: 0b_",
        "a: 0x_",
        "a: 0x" + "f" * 5000,
        "a: " + "1:" * 300 + "1",
        "a: " + "1:" * 300 + "1.0",
        "a: !!int ''",
        "a: @b",
        "a: `b",
        "a: b\n\t",
        "- a\nb: c",
        "a: }",
        '"a\\q"',
        "a: b\n...\nc: d",
        "a: *",
        "? &a b\n: *a",
        b"\xc0\x80",
        b"a: \xed\xa0\x80",
        "a: b".encode("utf-32"),
        "a: b".encode("utf-32-be"),
        "a: é".encode("latin-1"),
        "a: \x7f",
        "a: \ufffe",
    ],
)
def test_what_else_is_refused(text):
    refused(text)


def test_the_deepest_that_is_read():
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read(text).data == json.loads(text)
    assert read(text.replace("[", "{a: ").replace("]", "}")).source_map.line(("a",) * (MAX_DEPTH - 1)) == 1


def test_an_alias_does_not_nest_deeper_than_the_text():
    text = "a0: &a0 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    data = read(text).data
    assert data["a199"] == [data["a198"]]


# ---- faults that do not keep the file from being read


def faults(text):
    return [str(fault) for fault in read(text).faults]


def test_a_key_that_stands_twice_is_told_and_the_first_holds():
    document = read("a: 1\nb:\n  c:\n    d: 2\n  c: 3\na: 4\n")
    assert document.data == {"a": 1, "b": {"c": {"d": 2}}}
    assert [str(fault) for fault in document.faults] == [
        "'c' stands twice\n  where     m.yaml:5, b\n  expected  each name once\n  found     lines 3 and 5\n  fix       keep one of the two",
        "'a' stands twice\n  where     m.yaml:6\n  expected  each name once\n  found     lines 1 and 6\n  fix       keep one of the two",
    ]


def test_the_lines_are_those_of_the_values_that_hold():
    document = read("a:\n  b: 1\n\na:\n  b: 2\n  c: 3\n")
    assert document.data == {"a": {"b": 1}}
    assert lines_of(document) == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 6}


def test_a_key_that_stands_three_times_is_told_twice():
    assert faults("a: 1\na: 2\na: 3") == [
        "'a' stands twice\n  where     m.yaml:2\n  expected  each name once\n  found     lines 1 and 2\n  fix       keep one of the two",
        "'a' stands twice\n  where     m.yaml:3\n  expected  each name once\n  found     lines 1 and 3\n  fix       keep one of the two",
    ]


@pytest.mark.parametrize(
    "text", ["a: 1\nb: {a: 1}", "- a: 1\n- a: 1", "a: 1\nA: 1", "a: 1\n<<: {a: 2}", "é: 1\ne\u0301: 1"]
)
def test_names_that_are_no_duplicates(text):
    assert faults(text) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("1", "a number"), ("1.5", "a number"), ("on", "a boolean"), ("~", "nothing"), ("0x10", "a number")],
)
def test_a_name_that_is_not_a_text_is_told_and_taken_as_it_is_written(name, kind):
    assert read(f"a:\n  {name}: b").data == {"a": {name: "b"}}
    assert faults(f"a:\n  {name}: b") == [
        f'a name is not a text\n  where     m.yaml:2\n  expected  a text\n  found     {name} ({kind})\n  fix       put it in quotes: "{name}"'
    ]
    assert faults(f'a:\n  "{name}": b') == []


@pytest.mark.parametrize("name", ["2020-01-01", "0o17", "a b", "-a", "=", "1e5"])
def test_names_that_are_texts(name):
    document = read(f"{name}: b")
    assert (document.data, lines_of(document), document.faults) == ({name: "b"}, {(): 1, (name,): 1}, ())


def test_a_file_that_breaks_off_tells_the_faults_before_it_too():
    assert refused("a: 1\na: 2\n1: 3\nb: 'c") == (
        "m.yaml: 3 faults\n\n"
        "'a' stands twice\n  where     m.yaml:2\n  expected  each name once\n  found     lines 1 and 2\n  fix       keep one of the two\n\n"
        'a name is not a text\n  where     m.yaml:3\n  expected  a text\n  found     1 (a number)\n  fix       put it in quotes: "1"\n\n'
        "this is not YAML\n  where     m.yaml:4\n"
        + SYNTAX_EXPECTED
        + "  found     while scanning a quoted scalar, found unexpected end of stream\n"
        + SYNTAX_FIX
    )


def test_of_very_many_faults_the_first_thousand_are_told():
    told = refused("a: 1\n" * 5000)
    assert told.startswith("m.yaml: 1001 faults\n\n'a' stands twice\n  where     m.yaml:2\n")
    assert told.endswith(
        "there are more faults than are told at once\n"
        f"  where     m.yaml:{MAX_FAULTS + 2}\n"
        "  expected  at most 1,000\n"
        "  found     more\n"
        "  fix       fix the others first"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{0}: 1\n{0}: 2",
        "1: 2\n? !!int {}\n: 3",
        "!{} a",
        "!<{}> a",
        "!!int {}",
        "a: !!bool '{}'",
        "a: *{}",
        "{{a: {}: b}}",
        "a: '{}",
        "model_ref:{}\n b: c",
    ],
)
def test_no_message_tells_a_secret(text):
    try:
        told = faults(text.format("https://user:secret@host/x?token=secret"))
    except ConfigError as error:
        told = [str(error)]
    assert told
    assert not [each for each in told if "secret" in each]


@pytest.mark.parametrize(
    "text", ["? {0}\n: 1\n? {0}\n: 2", "a: !{0} b", "a: !!int {0}", "a: *{0}", "a: 0b{0}", "? 0x{0}\n: a"]
)
def test_a_page_of_text_is_not_printed_back(text):
    try:
        told = faults(text.format("1" * 100_000))
    except ConfigError as error:
        told = [str(error)]
    assert told
    assert max(map(len, told)) < 1000


# ---- large and hostile files


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b"[" * 10_000_000,
        b"{a: " * 2_500_000,
        b"- " * 5_000_000,
        b"? " * 5_000_000,
        b"[&a a" + b",*a" * 3_300_000 + b"]",
        b"a: 1\n" * 2_000_000,
        b"1: 1\n" * 2_000_000,
        b"a: " + b"1:" * 5_000_000 + b"1.0",
        b"a:" * 5_000_000,
        b'"' + b"a" * 10_000_000,
        b"!" * 10_000_000,
        b"%A\n" * 3_000_000,
        b"\t" * 10_000_000,
        b'{"a":\t[' * 1_000_000,
        b"a: &a {" + b",".join(b"k%d: 1" % n for n in range(1000)) + b"}\n" + b"b: {<<: [*a,*a,*a,*a]}\n" * 10_000,
        b"a0: &a0 {k: 1}\n" + b"".join(b"a%d: &a%d {<<: *a%d, k%d: 1}\n" % (n, n, n - 1, n) for n in range(1, 3000)),
    ],
    ids=lambda text: text[:12].decode().strip().replace("\t", "").replace("\n", ""),
)
def test_a_hostile_file_of_ten_megabytes_is_refused_in_bounded_time(text):
    began = time.process_time()
    refused(text)
    assert time.process_time() - began < 30


@pytest.mark.slow
def test_a_file_of_ten_megabytes_is_read():
    line = b"  m%06d: {model_ref: 'file:models/some model of ours.gguf', engine: vllm, handoff: '{runtime_dir}/%06d'}\n"
    data = b"models:\n" + b"".join(line % (n, n) for n in range(97_000))
    assert len(data) > 10_000_000
    began = time.process_time()
    document = read(data)
    assert time.process_time() - began < 60
    assert document.data["models"]["m096999"]["handoff"] == "{runtime_dir}/096999"
    assert document.source_map.line(("models", "m096999", "engine")) == 97_001
    assert document.faults == ()


# ---- any text, and any data

PIECES = st.sampled_from(
    [
        *"{}[]:,-?&*!|>%@`#'\"\\\n\t .=~<01_xe+",
        *("a: ", "- ", "&a ", "*a", "<<: ", "---\n", "...\n", "!!int ", "!!float ", "!!map ", "!!bool ", "! ", "\n  "),
        *(
            "\r",
            "\0",
            "\x85",
            "\u2028",
            "\ufeff",
            "\x01",
            "é",
            LLAMA,
            "\\ud83e\\udd99",
            "\\0",
            "0x",
            "0b",
            "1:",
            ".inf",
        ),
    ]
)


def check_any(data):
    try:
        document = read_document(data, "m.yaml")
    except ConfigError as error:
        assert error.faults
        assert str(error).isprintable() or "\n" in str(error)
        assert all(fault.where.startswith("m.yaml:") for fault in error.faults)
        return
    json.dumps(document.data)
    last = data.count(b"\n") + data.count(b"\r") + len(data.decode()) + 1
    assert all(1 <= line <= last for line in lines_of(document).values())
    for fault in document.faults:
        assert fault.where.startswith("m.yaml:")


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_is_data_or_refused(text):
    check_any(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_refused(data):
    check_any(data)


@given(st.text(max_size=60))
def test_any_characters_are_data_or_refused(text):
    check_any(text.encode("utf-8", "surrogatepass"))


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", "~", "on", "1", "1.0", "2020-01-01", "<<", "=", "*a", "a: b", "\n", " a", "a ", "\t", LLAMA, "0x1", "12:30"]
)
LEAVES = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | TEXTS


def nested(leaves):
    # The key << is kept for merges, in quotes too.
    names = TEXTS.filter(lambda name: name != "<<")
    return st.recursive(
        leaves,
        lambda values: st.lists(values, max_size=4) | st.dictionaries(names, values, max_size=4),
        max_leaves=20,
    )


def paths(data, path=()):
    """Yield every path of nested data."""
    yield path
    for step, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, step))


@given(nested(LEAVES | st.floats(allow_nan=False)), st.booleans(), st.sampled_from([None, True, False]))
def test_what_yaml_dumps_is_read_back(data, unicode, flow):
    text = yaml.safe_dump(data, allow_unicode=unicode, default_flow_style=flow)
    assume(yaml.safe_load(text) == data)  # PyYAML writes U+0085 so that it reads back a space
    document = read(text)
    assert document.data == data
    assert document.faults == ()
    assert set(lines_of(document)) >= set(paths(data))


@given(nested(LEAVES).filter(lambda data: isinstance(data, dict)), st.sampled_from([None, 0, 1, "\t"]))
def test_what_json_dumps_is_read_back(data, indent):
    document = read(json.dumps(data, indent=indent))
    assert document.data == data
    assert document.faults == ()
    assert set(lines_of(document)) == set(paths(data))


@given(nested(LEAVES).filter(lambda data: isinstance(data, dict | list)))
def test_lines_are_those_of_the_file(data):
    lines = json.dumps(data, indent=1).splitlines()
    for path, line in lines_of(read("\n".join(lines))).items():
        text = lines[line - 1].strip()
        if path and isinstance(path[-1], str):
            assert text.startswith(json.dumps(path[-1]) + ":")
        value = data
        for step in path:
            value = value[step]
        if not isinstance(value, dict | list):
            assert text.removesuffix(",").endswith(json.dumps(value))
