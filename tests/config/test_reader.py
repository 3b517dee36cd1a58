"""The configuration: what each entry means, and that every fault of a file is told at once, with its place and its fix."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import ConfigError
from model_provisioner.config.faults import MAX_FAULTS
from model_provisioner.config.entries import Config, Entry
from model_provisioner.config.load import parse_config
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.reference import HubRef, LocalRef, ObjectRef, UrlRef

HEX = "0123456789abcdef" * 4
TO_ADD = 'handoff: "{runtime_dir}/engines/{name}.json"'
FIELDS = (
    "model_ref, expected_digest, strict_verification, engine, handoff, include, exclude, keep, mmproj, lora, signature"
)
DIGESTS = '"sha256:<hex>", "dirhash:<hex>", {algo: …, value: …} or a mapping of path to "sha256:<hex>"'
DIGEST_FIX = "run `sha256sum FILE` and copy the first word behind sha256:"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A project folder, as the working directory, so that messages name the file as `models.yaml`."""
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", "/home/me")
    return str(folder)


def parse(text, path="models.yaml", environ={}, **options):
    return parse_config(text if isinstance(text, bytes) else text.encode(), path, environ=environ, **options)


def faults(text, path="models.yaml", environ={}):
    """Return the faults of a configuration as they are printed."""
    with pytest.raises(ConfigError) as caught:
        parse(text, path, environ)
    error = caught.value
    count = len(error.faults)
    assert error.exit_code == 3
    assert str(error) == "\n\n".join(
        [f"{error.path}: {count} fault{'s' if count > 1 else ''}", *map(str, error.faults)]
    )
    return [str(fault) for fault in error.faults]


def said(what, where="", expected="", found="", fix=""):
    fields = (("where", where), ("expected", expected), ("found", found), ("fix", fix))
    return "\n".join([what, *(f"  {label:<8}  {text}" for label, text in fields if text)])


def one(fields):
    """Return the only entry of a configuration of one entry `a` with these fields."""
    return parse(f"models:\n  a:\n    model_ref: x\n    {fields}\n").entries["a"]


# ---- what it means


def test_an_entry_of_one_field_has_the_defaults(root):
    assert parse("models:\n  tiny:\n    model_ref: file:models/tiny.gguf\n") == Config(
        answers=(
            (root, root),
            (f"{root}/.runtime", f"{root}/.runtime"),
            ("~", "/home/me"),
            (f"{root}/models", f"{root}/models"),
            (f"{root}/.runtime/engines", f"{root}/.runtime/engines"),
        ),
        path=f"{root}/models.yaml",
        root=root,
        cache_dir="/home/me/.cache/models",
        runtime_dir=f"{root}/.runtime",
        allow=(),
        recheck="xxh3",
        entries={
            "tiny": Entry(
                name="tiny",
                ref=LocalRef(f"{root}/models/tiny.gguf"),
                expected=None,
                strict=True,
                engine="llamacpp",
                handoff=f"{root}/.runtime/engines/llamacpp.json",
                line=2,
            )
        },
        handoffs=(f"{root}/.runtime/engines/llamacpp.json",),
    )


def test_every_field(root):
    text = f"""\
cache_dir: cache
runtime_dir: run
network:
  allow: [HuggingFace.co, example.org]
recheck: sha256
models:
  other: {{model_ref: "s3://bucket/key", handoff: o.json}}
  big-1.5_b:
    model_ref: hf:org/repo@v1/x.gguf
    expected_digest: {{algo: SHA256, value: "{HEX.upper()}"}}
    strict_verification: false
    engine: vllm-2_x
    handoff: "{{runtime_dir}}/{{engine}}/{{name}}.json"
"""
    config = parse(text)
    assert (config.cache_dir, config.runtime_dir) == (f"{root}/cache", f"{root}/run")
    assert (config.allow, config.recheck) == (("huggingface.co", "example.org"), "sha256")
    assert config.entries["other"].ref == ObjectRef("bucket", "key")
    assert config.entries["big-1.5_b"] == Entry(
        name="big-1.5_b",
        ref=HubRef("org/repo", "v1", "x.gguf"),
        expected=Digest("sha256", HEX),
        strict=False,
        engine="vllm-2_x",
        handoff=f"{root}/run/vllm-2_x/big-1.5_b.json",
        line=8,
    )


def test_a_configuration_can_t_be_changed():
    config = parse("models: {a: {model_ref: x}}")
    with pytest.raises(TypeError):
        config.entries["b"] = config.entries["a"]
    with pytest.raises(AttributeError):
        config.root = "/"


@pytest.mark.parametrize("text", ["models: {}", '{"models": {}}', '{\n\t"models": {}\n}', "models: {}\ndefaults:\n"])
def test_a_project_may_have_no_model(text):
    assert parse(text).entries == {}


def test_entries_keep_the_order_of_the_file():
    text = f"defaults: {{{TO_ADD}}}\nmodels: {{c: {{model_ref: x}}, a: {{model_ref: x}}, b: {{model_ref: x}}}}"
    assert list(parse(text).entries) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("expected_digest:", None),
        (f"expected_digest: sha256:{HEX}", Digest("sha256", HEX)),
        (f"expected_digest: SHA256:{HEX.upper()}", Digest("sha256", HEX)),
        (f"expected_digest: dirhash:{HEX}", Digest("dirhash", HEX)),
        (f"expected_digest: {{algo: dirhash, value: {HEX}}}", Digest("dirhash", HEX)),
        (
            f"expected_digest: {{b/é.gguf: sha256:{HEX}, B: sha256:{HEX}, a: sha256:{HEX.upper()}}}",
            SetDigest(tuple((name, Digest("sha256", HEX)) for name in ("B", "a", "b/é.gguf"))),
        ),
        (
            f"expected_digest: {{algo: sha256:{HEX}, x: sha256:{HEX}}}",
            SetDigest(tuple((name, Digest("sha256", HEX)) for name in ("algo", "x"))),
        ),
    ],
)
def test_expected_digests(text, expected):
    assert one(text).expected == expected


def test_a_field_of_the_entry_wins_over_the_defaults(root):
    config = parse(
        f"defaults: {{engine: vllm, strict_verification: false, model_ref: x, handoff: '{{name}}.json',"
        f" expected_digest: 'sha256:{HEX}'}}\n"
        "models:\n  a: {}\n  b: {engine: tgi, strict_verification: true, model_ref: y, expected_digest: null}\n"
    )
    a, b = config.entries.values()
    assert (a.engine, a.strict, a.ref, a.handoff) == ("vllm", False, LocalRef(f"{root}/x"), f"{root}/a.json")
    assert (b.engine, b.strict, b.ref, b.handoff) == ("tgi", True, LocalRef(f"{root}/y"), f"{root}/b.json")
    assert (a.expected, b.expected) == (Digest("sha256", HEX), None)


def test_entries_may_share_fields_by_alias_and_merge():
    config = parse(
        "defaults: &d {engine: vllm}\n"
        "models:\n  a: &a {model_ref: x, handoff: '{name}'}\n  b: *a\n  c: {<<: [*a, *d], model_ref: y}\n"
    )
    assert [(entry.name, entry.engine, entry.line) for entry in config.entries.values()] == [
        ("a", "vllm", 3),
        ("b", "vllm", 4),
        ("c", "vllm", 5),
    ]


# ---- the single-model document


def test_the_document_of_one_model(root):
    config = parse(
        f"model_ref: file:x.gguf\nexpected_digest: sha256:{HEX}\nstrict_verification: false\n", "/etc/m.yaml"
    )
    assert (config.path, config.root, config.runtime_dir) == ("/etc/m.yaml", root, f"{root}/.runtime")
    assert config.entries == {
        "llamacpp": Entry(
            name="llamacpp",
            ref=LocalRef(f"{root}/x.gguf"),
            expected=Digest("sha256", HEX),
            strict=False,
            engine="llamacpp",
            handoff=f"{root}/.runtime/engines/llamacpp.json",
            line=1,
        )
    }


def test_the_one_model_has_the_name_of_its_engine(root):
    (entry,) = parse("engine: vllm\nruntime_dir: r\nmodel_ref: x\nhandoff: '{name}-{engine}'").entries.values()
    assert (entry.name, entry.engine, entry.handoff) == ("vllm", "vllm", f"{root}/vllm-vllm")


# ---- paths


def test_paths_of_several_models_are_taken_from_the_folder_of_the_file(tmp_path, root):
    other = tmp_path / "other"
    other.mkdir()
    config = parse("cache_dir: c\nruntime_dir: ./r/../s\nmodels: {a: {model_ref: x, handoff: h}}", f"{other}/m.yaml")
    assert (config.root, config.cache_dir, config.runtime_dir) == (f"{other}", f"{other}/c", f"{other}/s")
    assert (config.entries["a"].ref, config.entries["a"].handoff) == (LocalRef(f"{other}/x"), f"{other}/h")


def test_paths_of_one_model_are_taken_from_the_working_directory(tmp_path, root):
    other = tmp_path / "other"
    other.mkdir()
    config = parse("cache_dir: c\nruntime_dir: r\nmodel_ref: x\nhandoff: h", f"{other}/m.yaml")
    assert (config.root, config.cache_dir, config.runtime_dir) == (root, f"{root}/c", f"{root}/r")
    assert (config.entries["llamacpp"].ref, config.entries["llamacpp"].handoff) == (LocalRef(f"{root}/x"), f"{root}/h")


def test_the_folder_of_the_file_is_named_without_links(tmp_path, root):
    (tmp_path / "link").symlink_to(root)
    config = parse("models: {a: {model_ref: x}}", f"{tmp_path}/link/models.yaml")
    assert (config.path, config.root) == (f"{root}/models.yaml", root)
    assert config.entries["a"].handoff == f"{root}/.runtime/engines/llamacpp.json"


def test_a_project_may_lie_at_the_root_of_the_disk():
    assert parse("models: {a: {model_ref: x}}", "/models.yaml").entries["a"].handoff.startswith("/.runtime/")


def test_the_home_folder_is_expanded():
    config = parse("cache_dir: ~/c\nmodels: {a: {model_ref: ~/x}}")
    assert (config.cache_dir, config.entries["a"].ref) == ("/home/me/c", LocalRef("/home/me/x"))


def test_a_handoff_in_the_home_folder_may_lie_in_the_project(root, monkeypatch):
    monkeypatch.setenv("HOME", root)
    assert one("handoff: ~/x.json").handoff == f"{root}/x.json"
    assert parse("runtime_dir: ~/r\nmodels: {}").runtime_dir == f"{root}/r"


@pytest.mark.parametrize(
    ("argument", "environ", "in_file", "cache_dir"),
    [
        (None, {}, "", "/home/me/.cache/models"),
        (None, {}, "cache_dir: /file", "/file"),
        (None, {"MODEL_PROVISIONER_CACHE_DIR": "/environ"}, "cache_dir: /file", "/environ"),
        (None, {"MODEL_PROVISIONER_CACHE_DIR": "~/environ"}, "", "/home/me/environ"),
        (None, {"MODEL_PROVISIONER_CACHE_DIR": ""}, "cache_dir: /file", "/file"),
        ("/argument", {"MODEL_PROVISIONER_CACHE_DIR": "/environ"}, "cache_dir: /file", "/argument"),
        ("~/argument", {}, "", "/home/me/argument"),
    ],
)
def test_the_argument_wins_over_the_environment_that_over_the_file(argument, environ, in_file, cache_dir):
    for text in (f"model_ref: x\n{in_file}", f"models: {{}}\n{in_file}"):
        assert parse_config(text.encode(), "m.yaml", cache_dir=argument, environ=environ).cache_dir == cache_dir


def test_a_relative_argument_is_taken_from_the_working_directory(tmp_path, root):
    text = b"models: {}\ncache_dir: c"
    path = f"{tmp_path}/models.yaml"
    assert parse_config(text, path, cache_dir="d", environ={}).cache_dir == f"{root}/d"
    assert parse_config(text, path, environ={"MODEL_PROVISIONER_CACHE_DIR": "e"}).cache_dir == f"{root}/e"
    assert parse_config(text, path, environ={}).cache_dir == f"{tmp_path}/c"


@pytest.mark.parametrize(
    ("template", "handoff"),
    [
        ("x.json", "x.json"),
        ("{name}.json", "a.json"),
        ("{engine}/{name}/{engine}", "llamacpp/a/llamacpp"),
        ("{runtime_dir}/x", ".runtime/x"),
        ("{runtime_dir}/../y", "y"),
        ("./b//../{name}", "a"),
        ("{", "{"),
        ("}{name}{", "}a{"),
        ("{{name}}", "{a}"),
        ("$HOME/%s", "$HOME/%s"),
        ("../a project/y", "y"),
    ],
)
def test_placeholders_of_the_handoff(root, template, handoff):
    assert one(f"handoff: '{template}'").handoff == f"{root}/{handoff}"


def test_what_a_placeholder_stands_for_is_not_expanded_again(root):
    assert parse("runtime_dir: '{name}'\nmodels: {a: {model_ref: x}}").entries["a"].handoff == (
        f"{root}/{{name}}/engines/llamacpp.json"
    )


# ---- what is refused, and how it is said


IN_A = "models.yaml:3, models → a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "modle_ref: y",
            said(
                "unknown field 'modle_ref'", f"{IN_A} → modle_ref", f"one of {FIELDS}", "modle_ref", "write model_ref"
            ),
        ),
        ("zzz: y", said("unknown field 'zzz'", f"{IN_A} → zzz", f"one of {FIELDS}", "zzz", "remove it")),
        (
            "model_ref: y",
            said("'model_ref' stands twice", IN_A, "each name once", found="lines 2 and 3", fix="keep one of the two"),
        ),
        (
            "1: y",
            said("a name is not a text", "models.yaml:3", "a text", found="1 (a number)", fix='put it in quotes: "1"')
            + "\n\n"
            + said("unknown field '1'", f"{IN_A} → 1", f"one of {FIELDS}", "1", "remove it"),
        ),
        (
            "engine: VLLM",
            said(
                "not a name for an engine",
                f"{IN_A} → engine",
                "a small letter, then small letters, digits, underscores and hyphens",
                "'VLLM'",
                "choose a name of these characters",
            ),
        ),
        (
            "engine: 5",
            said(
                "engine has the wrong type",
                f"{IN_A} → engine",
                "a text",
                "5",
                "put it in quotes: without, YAML takes it for a number",
            ),
        ),
        (
            "engine: on",
            said(
                "engine has the wrong type",
                f"{IN_A} → engine",
                "a text",
                "True",
                "put it in quotes: without, YAML takes it for a boolean",
            ),
        ),
        (
            "handoff: [x]",
            said(
                "handoff has the wrong type",
                f"{IN_A} → handoff",
                "a text",
                "['x']",
                "write a text, in quotes if need be",
            ),
        ),
        (
            "strict_verification: 'yes'",
            said(
                "strict_verification has the wrong type",
                f"{IN_A} → strict_verification",
                "true or false",
                "'yes'",
                "write true or false, without quotes",
            ),
        ),
        (
            "strict_verification: 1",
            said(
                "strict_verification has the wrong type",
                f"{IN_A} → strict_verification",
                "true or false",
                "1",
                "write true or false, without quotes",
            ),
        ),
        (
            f"expected_digest: {HEX}",
            said(
                "a digest names its algorithm",
                f"{IN_A} → expected_digest",
                "sha256:<64 hexadecimal digits>",
                f"'{HEX}'",
                f"write sha256:{HEX}",
            ),
        ),
        (
            "expected_digest: sha256:1234",
            said(
                "not a digest value",
                f"{IN_A} → expected_digest",
                "64 hexadecimal digits",
                "'1234' (4 characters)",
                "run `sha256sum FILE` and copy the first word",
            ),
        ),
        (
            f"expected_digest: md5:{HEX}",
            said(
                "unknown digest algorithm",
                f"{IN_A} → expected_digest",
                "sha256 (one file) or dirhash (a split or a folder)",
                "'md5'",
                "SHA-256 is what `sha256sum FILE` prints",
            ),
        ),
        (
            f"expected_digest: {{algo: sha512, value: {HEX}}}",
            said(
                "unknown digest algorithm",
                f"{IN_A} → expected_digest",
                "sha256 (one file) or dirhash (a split or a folder)",
                "'sha512'",
                "SHA-256 is what `sha256sum FILE` prints",
            ),
        ),
        (
            "expected_digest: {algo: sha256}",
            said(
                "not a digest value",
                f"{IN_A} → expected_digest",
                "64 hexadecimal digits",
                "'' (0 characters)",
                "run `sha256sum FILE` and copy the first word",
            ),
        ),
        ("expected_digest: {}", said("not a digest", f"{IN_A} → expected_digest", DIGESTS, "{}", DIGEST_FIX)),
        ("expected_digest: 5", said("not a digest", f"{IN_A} → expected_digest", DIGESTS, "5", DIGEST_FIX)),
        (
            "expected_digest: {algo: sha256, value: 5}",
            said("not a digest", f"{IN_A} → expected_digest", DIGESTS, "{'algo': 'sha256', 'value': 5}", DIGEST_FIX),
        ),
        (
            f"expected_digest: {{x: dirhash:{HEX}}}",
            said(
                "not the digest of a file",
                f"{IN_A} → expected_digest → x",
                '"sha256:<64 hexadecimal digits>"',
                f"'dirhash:{HEX}'",
                "run `sha256sum FILE` and copy the first word behind sha256:",
            ),
        ),
        (
            "expected_digest: {x: 5}",
            said(
                "not the digest of a file",
                f"{IN_A} → expected_digest → x",
                '"sha256:<64 hexadecimal digits>"',
                "5",
                "run `sha256sum FILE` and copy the first word behind sha256:",
            ),
        ),
        (
            f"expected_digest: {{x/../y: sha256:{HEX}}}",
            said(
                "not the path of a file in a set",
                f"{IN_A} → expected_digest → x/../y",
                "a relative path without ..",
                "'x/../y'",
                "write the path as it is inside the folder, or the shard's base name",
            ),
        ),
        (
            "handoff: '{run}/{nam}'",
            said(
                "unknown placeholder {run}",
                f"{IN_A} → handoff",
                "{runtime_dir}, {name} and {engine}",
                "'{run}/{nam}'",
                "write one of these",
            ),
        ),
        (
            "handoff: '{}'",
            said(
                "unknown placeholder {}",
                f"{IN_A} → handoff",
                "{runtime_dir}, {name} and {engine}",
                "'{}'",
                "write one of these",
            ),
        ),
        (
            "handoff: /etc/x.json",
            said(
                "the handoff lies outside the project",
                f"{IN_A} → handoff",
                "a path inside {root}",
                "/etc/x.json",
                f"write it into the project:   {TO_ADD}",
            ),
        ),
        (
            "handoff: models.yaml",
            said(
                "the handoff can't be written there",
                f"{IN_A} → handoff",
                "a file of its own",
                "{root}/models.yaml",
                f"choose another name:   {TO_ADD}",
            ),
        ),
        (
            "handoff: x",
            said(
                "the handoff of a would take the place of the model a",
                f"{IN_A} → handoff",
                "a file of its own",
                "x",
                f"choose another name:   {TO_ADD}",
            ),
        ),
    ],
)
def test_faults_of_an_entry_and_how_they_are_said(root, text, message):
    text = f"models:\n  a: {{model_ref: x,\n    {text}}}"
    assert "\n\n".join(faults(text)) == message.replace("{root}", root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "netwrk: {}",
            said(
                "unknown field 'netwrk'",
                "models.yaml:2, netwrk",
                "one of cache_dir, runtime_dir, network, cache, mirrors, recheck, defaults, models",
                "netwrk",
                "write network",
            ),
        ),
        (
            "network: {alow: []}",
            said("unknown field 'alow'", "models.yaml:2, network → alow", "one of allow", "alow", "write allow"),
        ),
        (
            "cache: {max_size: 20 gigs}",
            said(
                "max_size is no size",
                "models.yaml:2, cache → max_size",
                "a whole number of bytes, or a text as 200GB or 1.5 GiB; the units are B, KB, MB, GB, TB (of 1000) and "
                "KiB, MiB, GiB, TiB (of 1024)",
                "'20 gigs'",
                "write   cache: {max_size: 200GB}",
            ),
        ),
        (
            "network: []",
            said(
                "network has the wrong type",
                "models.yaml:2, network",
                "a mapping",
                "[]",
                "write names and values, indented",
            ),
        ),
        (
            "network: {allow: example.org}",
            said(
                "allow has the wrong type",
                "models.yaml:2, network → allow",
                "a list",
                "'example.org'",
                "write [a, b] or one line '- a' for each",
            ),
        ),
        (
            "network:\n  allow:\n  - x\n  - 5",
            said(
                "1 has the wrong type",
                "models.yaml:5, network → allow → 1",
                "a text",
                "5",
                "put it in quotes: without, YAML takes it for a number",
            ),
        ),
        (
            "recheck: md5",
            said(
                "recheck has no such value",
                "models.yaml:2, recheck",
                "'xxh3' or 'sha256'",
                "'md5'",
                "write one of these",
            ),
        ),
        (
            "cache_dir:",
            said(
                "cache_dir has the wrong type",
                "models.yaml:2, cache_dir",
                "a text",
                "None",
                "write a text, in quotes if need be",
            ),
        ),
        (
            "runtime_dir: 1.5",
            said(
                "runtime_dir has the wrong type",
                "models.yaml:2, runtime_dir",
                "a text",
                "1.5",
                "put it in quotes: without, YAML takes it for a number",
            ),
        ),
        (
            "defaults: [engine]",
            said(
                "defaults has the wrong type",
                "models.yaml:2, defaults",
                "a mapping",
                "['engine']",
                "write names and values, indented",
            ),
        ),
        (
            "defaults: ''",
            said(
                "defaults has the wrong type",
                "models.yaml:2, defaults",
                "a mapping",
                "''",
                "write names and values, indented",
            ),
        ),
        (
            "defaults: {engin: x}",
            said(
                "unknown field 'engin'", "models.yaml:2, defaults → engin", f"one of {FIELDS}", "engin", "write engine"
            ),
        ),
        (
            "model_ref: x",
            said(
                "one model at the top level and several under models: are two forms of the file",
                "models.yaml:2, model_ref",
                "model_ref: at the top level, or models:",
                "both",
                fix="move the fields of the one model under models:, by a name of its own",
            ),
        ),
    ],
)
def test_faults_beside_the_models_and_how_they_are_said(text, message):
    assert faults(f"models: {{a: {{model_ref: x}}}}\n{text}") == [message]


FORMS = "a mapping with models: (several models, by name) or model_ref: (one)"
EXAMPLE = 'write   models: {tiny: {model_ref: "file:models/tiny.gguf"}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", said("the file is empty", "models.yaml:1", FORMS, "nothing", EXAMPLE)),
        ("# models:", said("the file is empty", "models.yaml:1", FORMS, "nothing", EXAMPLE)),
        ("\n- a", said("the file names no model", "models.yaml:2", FORMS, "['a']", EXAMPLE)),
        ("models", said("the file names no model", "models.yaml:1", FORMS, "'models'", EXAMPLE)),
        ("5", said("the file names no model", "models.yaml:1", FORMS, "5", EXAMPLE)),
        ("cache_dir: x", said("the file names no model", "models.yaml:1", FORMS, "{'cache_dir': 'x'}", EXAMPLE)),
        (
            "modles: {}",
            said(
                "the file names no model",
                "models.yaml:1",
                FORMS,
                "{'modles': {}}",
                "write models in the place of modles",
            ),
        ),
        (
            "modelref: x",
            said(
                "the file names no model",
                "models.yaml:1",
                FORMS,
                "{'modelref': 'x'}",
                "write model_ref in the place of modelref",
            ),
        ),
        (
            "models:",
            said(
                "models has the wrong type",
                "models.yaml:1, models",
                "a mapping",
                "None",
                "write names and values, indented",
            ),
        ),
        (
            "models:\n- a",
            said(
                "models has the wrong type",
                "models.yaml:1, models",
                "a mapping",
                "['a']",
                "write names and values, indented",
            ),
        ),
        (
            "models:\n  a:",
            said(
                "a has the wrong type",
                "models.yaml:2, models → a",
                "a mapping",
                "None",
                "write names and values, indented",
            ),
        ),
        (
            "models:\n  a: {}",
            said(
                "model_ref is missing",
                "models.yaml:2, models → a",
                "model_ref: and its value",
                "none",
                fix='add   model_ref: "file:models/tiny.gguf"',
            ),
        ),
        (
            "models:\n  a b: {model_ref: x}",
            said(
                "not a name for a model",
                "models.yaml:2, models → a b",
                "a letter or digit, then letters, digits, dots, underscores and hyphens",
                "'a b'",
                "choose a name of these characters",
            ),
        ),
        (
            "models:\n  a: {model_ref: x}\n\n  b: {model_ref: y}",
            said(
                "a and b would write one handoff",
                "models.yaml:4, models → b",
                "a handoff of its own for each model",
                ".runtime/engines/llamacpp.json, for a (line 2) and b (line 4)",
                f"add to one of them, or to defaults:   {TO_ADD}",
            ),
        ),
        (
            "models:\n  a: {model_ref: 'ftp://host/x'}",
            said(
                "no reference starts with ftp:",
                "models.yaml:2, models → a → model_ref",
                "a path, file:PATH, hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION], https://HOST/FILE, s3://BUCKET/KEY, "
                "oci:REGISTRY/REPO[:TAG] or ollama:NAME[:TAG]",
                "ftp://host/x",
                "download the model and name the file",
            ),
        ),
        (
            "models:\n  a: {model_ref: ~nobody-of-that-name/x}",
            said(
                "no such user",
                "models.yaml:2, models → a → model_ref",
                "~/… for your own home, ~USER/… for a user of this machine",
                "~nobody-of-that-name/x",
                "if that is the name of a local file, write ./~nobody-of-that-name/x",
            ),
        ),
        (
            "model_ref: x\nexpected_digst: y",
            said(
                "unknown field 'expected_digst'",
                "models.yaml:2, expected_digst",
                f"one of {FIELDS}, cache_dir, runtime_dir, network, cache, mirrors, recheck",
                "expected_digst",
                "write expected_digest",
            ),
        ),
        (
            "model_ref: x\ndefaults: {}",
            said(
                "unknown field 'defaults'",
                "models.yaml:2, defaults",
                f"one of {FIELDS}, cache_dir, runtime_dir, network, cache, mirrors, recheck",
                "defaults",
                "remove it",
            ),
        ),
        (
            "handoff: x\nmodel_ref: x",
            said(
                "the handoff of llamacpp would take the place of the model llamacpp",
                "models.yaml:1, handoff",
                "a file of its own",
                "x",
                f"choose another name:   {TO_ADD}",
            ),
        ),
        (
            "models: {\n",
            said(
                "this is not YAML",
                "models.yaml:2",
                'names and values, as in   models: {tiny: {model_ref: "file:models/tiny.gguf"}}',
                found="while parsing a flow node, did not find expected node content",
                fix="look at this line and the one before: indent, colons, quotes",
            ),
        ),
    ],
)
def test_faults_of_a_file_and_how_they_are_said(text, message):
    assert faults(text) == [message]


@pytest.mark.parametrize("name", ["", ".", "..", "-a", ".a", "_a", "a/b", "../a", "a b", "é", "a\\n", "[key]", "<<<"])
def test_names_that_are_not_allowed(name):
    (told,) = faults(f'models: {{"{name}": {{model_ref: x, handoff: "{{name}}"}}}}')
    assert told.startswith("not a name for a model\n")


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-d", "a..b", "a-", "models", "engine", "null_"])
def test_names_that_are_allowed(name):
    assert list(parse(f'models: {{"{name}": {{model_ref: x}}}}').entries) == [name]


@pytest.mark.parametrize("engine", ["", "A", "1a", "a.b", "a/b", "é", "../x", "a\\n", "-a"])
def test_engines_that_are_not_allowed(engine):
    for text in (f'models: {{a: {{model_ref: x, engine: "{engine}"}}}}', f'model_ref: x\nengine: "{engine}"'):
        (told,) = faults(text)
        assert told.startswith("not a name for an engine\n")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "..", "a/./b", "a\\nb", "a\\\\b"])
def test_paths_that_a_set_cannot_hold(path):
    (told,) = faults(f'models: {{a: {{model_ref: x, expected_digest: {{"{path}": sha256:{HEX}}}}}}}')
    assert told.startswith("not the path of a file in a set\n")


# ---- where a handoff may lie


@pytest.mark.parametrize(
    "handoff",
    [
        "../x.json",
        "a/../../x.json",
        "/x.json",
        "{runtime_dir}/../../x.json",
        "../a project2/x",
        "~/x",
    ],
)
def test_a_handoff_outside_the_project_is_refused(root, handoff):
    (told,) = faults(f"models: {{a: {{model_ref: m, handoff: '{handoff}'}}}}")
    assert told.startswith("the handoff lies outside the project\n  where     models.yaml:1, models → a → handoff\n")


@pytest.mark.parametrize("runtime_dir", ["/run", "..", "a/../../b", "~/run", "../a project2"])
def test_a_runtime_folder_outside_the_project_is_refused(root, runtime_dir):
    found = os.path.normpath(os.path.join(root, runtime_dir.replace("~", "/home/me")))
    assert faults(f"runtime_dir: {runtime_dir}\nmodels: {{a: {{model_ref: m}}}}") == [
        said(
            "runtime_dir lies outside the project",
            "models.yaml:1, runtime_dir",
            f"a path inside {root}",
            found,
            "name a folder in the project; a place of your own is for MODEL_PROVISIONER_RUNTIME_DIR to name",
        )
    ]


@pytest.mark.parametrize("runtime_dir", [".", "run", "./a/../run", "~/run", "{root}/run"])
def test_a_runtime_folder_in_the_project_may_be_written_in_any_way(root, monkeypatch, runtime_dir):
    monkeypatch.setenv("HOME", root)
    config = parse(f"runtime_dir: {runtime_dir.format(root=root)}\nmodels: {{a: {{model_ref: m}}}}")
    assert config.runtime_dir == (root if runtime_dir == "." else f"{root}/run")


def test_the_users_own_runtime_folder_may_lie_anywhere_and_be_a_link(tmp_path, root):
    environ = {"MODEL_PROVISIONER_RUNTIME_DIR": f"{tmp_path}/link"}
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to("own")
    config = parse("runtime_dir: ~/x\nmodels: {a: {model_ref: m}, b: {model_ref: m, handoff: b.json}}", environ=environ)
    assert config.runtime_dir == f"{tmp_path}/own"
    assert config.handoffs == (f"{tmp_path}/own/engines/llamacpp.json", f"{root}/b.json")
    (told,) = faults("models: {a: {model_ref: m, handoff: ../x.json}}", environ=environ)
    assert f"\n  expected  a path inside {root} or a path inside {tmp_path}/own\n" in told


def test_no_link_below_the_project_is_followed(root):
    """What opens the folder refuses it: here it could be another one by then."""
    os.mkdir(f"{root}/real")
    os.symlink("real", f"{root}/link")
    assert one("handoff: link/x.json").handoff == f"{root}/link/x.json"
    (entry,) = parse("runtime_dir: link\nmodels: {a: {model_ref: m, handoff: '{runtime_dir}/x.json'}}").entries.values()
    assert entry.handoff == f"{root}/link/x.json"


@pytest.mark.parametrize(
    ("written", "top"), [("c", ""), ("./c/../d", ""), ("~/c", "/home/me/c"), ("/c", "/c"), ("../c", "../c")]
)
def test_a_store_is_reached_from_the_project_or_lies_by_itself(root, written, top):
    assert parse(f"cache_dir: {written}\nmodels: {{}}").cache_root == os.path.normpath(os.path.join(root, top))


def test_the_users_own_store_lies_by_itself():
    config = parse("cache_dir: ~/x\nmodels: {}", environ={"MODEL_PROVISIONER_CACHE_DIR": "sub/../c"})
    assert config.cache_dir == config.root + "/c"


@pytest.mark.parametrize("written", ["{root}/link/c", "~/link/c"])
def test_a_store_in_the_project_that_is_not_named_from_there_may_be_reached_by_links(
    tmp_path, root, monkeypatch, written
):
    monkeypatch.setenv("HOME", root)
    (tmp_path / "a project/link").symlink_to("../elsewhere")
    for config in (
        parse(f"cache_dir: {written.format(root=root)}\nmodels: {{}}"),
        parse("models: {}", environ={"MODEL_PROVISIONER_CACHE_DIR": "link/c"}),
    ):
        assert config.cache_dir == config.cache_root == f"{tmp_path}/elsewhere/c"
    assert parse("cache_dir: link/c\nmodels: {}").cache_root == root


@pytest.mark.parametrize("handoff", [".", "sub", "sub/", "", "{runtime_dir}/.."])
def test_a_handoff_can_t_be_a_folder(root, handoff):
    os.mkdir(f"{root}/sub")
    assert len(faults(f"models: {{a: {{model_ref: m, handoff: '{handoff}'}}}}")) == 1


@pytest.mark.parametrize(
    ("handoff", "found"),
    [
        ("models.lock", "{root}/models.lock"),
        ("dodo.py", "{root}/dodo.py"),
        ("sub/models.yaml", "{root}/sub/models.yaml"),
        (".runtime/digests/m.sha256", "{root}/.runtime/digests/m.sha256, in the folder of the checksum files"),
        ("{runtime_dir}/provenance/x", "{root}/.runtime/provenance/x, in the folder of the log of verifications"),
        ("store/blobs/x.json", "{root}/store/blobs/x.json, in the store"),
        ("state/projects/x/snapshot", "{root}/state/projects/x/snapshot, in the state folder"),
    ],
)
def test_a_handoff_can_t_be_another_file_of_ours(root, monkeypatch, handoff, found):
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", f"{root}/state")
    (told,) = faults(f"cache_dir: store\nmodels:\n  m:\n    model_ref: m\n    handoff: '{handoff}'")
    assert told.startswith(
        "the handoff can't be written there\n"
        "  where     models.yaml:5, models → m → handoff\n"
        "  expected  a file of its own\n"
        f"  found     {found.format(root=root)}\n"
    )


def test_a_handoff_can_t_be_a_key_or_a_bundle(root):
    signature = "signature: {bundle: b.json, public_key: k.pem}"
    for handoff, other in (("k.pem", "other: {model_ref: n}"), ("b.json", "other: {model_ref: n}")):
        (told,) = faults(f"models: {{m: {{model_ref: m, handoff: {handoff}, {signature}}}, {other}}}")
        assert told.startswith("the handoff of m would take the place of a signature or key of m\n")


def test_a_handoff_can_t_be_the_configuration_under_another_name(tmp_path, root):
    (tmp_path / "link").symlink_to(root)
    for path, handoff in (
        ("link/models.yaml", "models.yaml"),
        ("a project/models.yaml", f"{tmp_path}/link/models.yaml"),
    ):
        (told,) = faults(f"models: {{a: {{model_ref: m, handoff: {handoff}}}}}", f"{tmp_path}/{path}")
        assert told.startswith("the handoff can't be written there\n")


@pytest.mark.parametrize("other", ["x.json", "./sub/../x.json", "{runtime_dir}/../x.json", "~/x.json"])
def test_two_entries_of_one_handoff_are_refused_however_it_is_written(root, monkeypatch, other):
    monkeypatch.setenv("HOME", root)
    (told,) = faults(f"models: {{a: {{model_ref: m, handoff: x.json}}, b: {{model_ref: m, handoff: '{other}'}}}}")
    assert told.startswith("a and b would write one handoff\n")


def test_each_further_entry_of_one_handoff_is_told():
    told = faults(
        "models:\n  a: {model_ref: x}\n  b: {model_ref: y, engine: vllm}\n  c: {model_ref: z}\n  d: {model_ref: z}"
    )
    assert [each.partition("\n")[0] for each in told] == [
        "a and c would write one handoff",
        "a and d would write one handoff",
    ]


@pytest.mark.parametrize("handoff", ["models/x", "models/../models/x"])
def test_a_handoff_can_t_take_the_place_of_another_model(root, handoff):
    os.mkdir(f"{root}/models")
    told = faults(f"models:\n  a: {{model_ref: y, handoff: {handoff}}}\n  b: {{model_ref: ./models/x}}")
    assert told == [
        said(
            "the handoff of a would take the place of the model b",
            "models.yaml:2, models → a → handoff",
            "a file of its own",
            "models/x",
            f"choose another name:   {TO_ADD}",
        )
    ]


@pytest.mark.parametrize("handoff", ["models/x.json", "models/deep/x.json"])
def test_a_handoff_can_t_lie_in_the_folder_of_a_model(root, handoff):
    (told,) = faults(f"models:\n  a: {{model_ref: y, handoff: {handoff}}}\n  b: {{model_ref: ./models}}")
    assert told.startswith("the handoff of a would lie in the folder of the model b\n")


# ---- all faults in one run


def test_all_faults_of_a_file_are_told_in_the_order_of_its_lines(root):
    text = f"""\
runtime_dir: 5
netwrk: {{}}
defaults:
  engin: vllm
  strict_verification: "no"
recheck: crc32
models:
  a:
    model_ref: "ftp://host/x"
    expected_digest: sha256:12
  a: {{}}
  -b:
    model_ref: x
  c:
  d:
    handoff: /etc/d.json
    zzz: 1
  e:
    model_ref: hf:org
    expected_digest:
      x: 5
      ../y: sha256:{HEX}
  f: {{model_ref: m, handoff: same}}
  g: {{model_ref: m, handoff: same}}
"""
    assert [tuple(fault.split("\n")[:2]) for fault in faults(text)] == [
        (what, f"  where     models.yaml:{where}")
        for what, where in [
            ("runtime_dir has the wrong type", "1, runtime_dir"),
            ("unknown field 'netwrk'", "2, netwrk"),
            ("unknown field 'engin'", "4, defaults → engin"),
            ("strict_verification has the wrong type", "5, defaults → strict_verification"),
            ("recheck has no such value", "6, recheck"),
            ("no reference starts with ftp:", "9, models → a → model_ref"),
            ("not a digest value", "10, models → a → expected_digest"),
            ("'a' stands twice", "11, models"),
            ("not a name for a model", "12, models → -b"),
            ("c has the wrong type", "14, models → c"),
            ("model_ref is missing", "15, models → d"),
            ("the handoff lies outside the project", "16, models → d → handoff"),
            ("unknown field 'zzz'", "17, models → d → zzz"),
            (
                "a Hugging Face repository is named by its organisation or user and its name",
                "19, models → e → model_ref",
            ),
            ("not the digest of a file", "21, models → e → expected_digest → x"),
            ("not the path of a file in a set", "22, models → e → expected_digest → ../y"),
            ("f and g would write one handoff", "24, models → g"),
        ]
    ]


def test_all_faults_of_one_model_are_told_in_the_order_of_its_lines():
    text = "handoff: ../x\nmodel_ref: hf:org\nexpected_digest: 5\nstrict_verification: 5\nmodle: 5\n1: 2"
    assert [fault.split("\n")[0] for fault in faults(text)] == [
        "the handoff lies outside the project",
        "a Hugging Face repository is named by its organisation or user and its name",
        "not a digest",
        "strict_verification has the wrong type",
        "unknown field 'modle'",
        "a name is not a text",
        "unknown field '1'",
    ]


@pytest.mark.parametrize("name", ["a, b.yaml", "a:9.yaml", "a:9, b", ":", "models → a", "12"])
def test_the_order_does_not_depend_on_the_name_of_the_file(name):
    text = "b: 1\nmodels:\n" + "".join(f"  m{n}: {{}}\n" for n in range(12)) + "  m1: {}\n"
    assert [fault.split("\n")[1] for fault in faults(text, name)] == [
        f"  where     {name}:1, b",
        *(f"  where     {name}:{n + 3}, models → m{n}" for n in range(12)),
        f"  where     {name}:15, models",
    ]


def test_a_fault_of_the_defaults_is_told_once():
    entries = "".join(f"  m{n}: {{model_ref: x}}\n" for n in range(3))
    told = faults(f"defaults: {{handoff: '{{name}}', engine: 5, foo: 1, expected_digest: 5}}\nmodels:\n{entries}")
    assert [each.split("\n")[1] for each in told] == [
        "  where     models.yaml:1, defaults → expected_digest",
        "  where     models.yaml:1, defaults → engine",
        "  where     models.yaml:1, defaults → foo",
    ]


def test_what_is_wrong_between_entries_is_told_beside_what_is_wrong_in_them():
    told = faults(
        "models:\n"
        "  a: {model_ref: x, handoff: h, keep: 5, lora: [l, ./l]}\n"
        "  b: {model_ref: y, handoff: h, zzz: 1}\n"
        "  c: {model_ref: z, include: ['*'], strict_verification: 'no', handoff: y}\n"
    )
    assert [each.split("\n")[0] for each in told] == [
        "keep has the wrong type",
        "a names one file twice",
        "unknown field 'zzz'",
        "a and b would write one handoff",
        "strict_verification has the wrong type",
        "include says which files of many are taken, and c is not a whole repository or prefix",
        "the handoff of c would take the place of the model b",
    ]


@pytest.mark.parametrize("fields", ["engine: 5", "engine: X", "handoff: 5", "handoff: '{x}'"])
def test_no_handoff_is_made_of_a_field_with_a_fault(fields):
    assert len(faults(f"models: {{a: {{model_ref: x, {fields}}}, b: {{model_ref: y}}}}")) == 1


@pytest.mark.parametrize(
    "fields", ["model_ref: 'ftp://host/x'", "model_ref: 5", "engine: 5", "handoff: '{x}'", "lora: 5", "signature: {}"]
)
def test_a_fault_of_one_field_of_the_defaults_is_told_once(fields):
    reference = "" if "model_ref" in fields else ", model_ref: x"
    handoff = "" if fields.startswith(("engine", "handoff")) else ", handoff: {name}.json"
    entries = "".join(f"  m{n}: {{keep: true{reference}{handoff.format(name=n)}}}\n" for n in range(3))
    (told,) = faults(f"defaults: {{{fields}}}\nmodels:\n{entries}")
    assert "models.yaml:1, defaults → " in told


def test_of_very_many_faults_a_thousand_are_told():
    told = faults("models:\n" + "".join(f"  m{n}: {{modle: 1}}\n" for n in range(5000)))
    assert len(told) == MAX_FAULTS + 1
    assert told[-1] == said(
        "there are more faults than are told at once", "models.yaml", "at most 1,000", "more", "fix the others first"
    )


# ---- messages: short, and without secrets

URL = "https://user:hunter2@host/x?token=hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "model_ref:{0}",
        "model_ref: ['{0}']",
        "model_ref: {{url: '{0}'}}",
        "model_ref: '{0} '",
        "model_ref: 'http://user:hunter2@host/x'",
        "model_ref: '{0}'\nhandoff: '{{x}}{0}'",
        "model_ref: '{0}'\nhandoff: ../../../../../../../x",
        "model_ref: '{0}'\n'{0}': 1",
        "model_ref: '{0}'\nengine: '{0}'",
        "model_ref: '{0}'\nexpected_digest: '{0}'",
        "model_ref: '{0}'\nexpected_digest: {{'{0}': '{0}'}}",
        "model_ref: '{0}'\nnetwork: '{0}'",
        "model_ref: '{0}'\nnetwork: {{allow: '{0}'}}",
        "model_ref: '{0}'\nrecheck: '{0}'",
        "model_ref: '{0}'\ncache_dir: ['{0}']",
        "model_ref: '{0}'\nmodels: {{}}",
        "model: '{0}'",
        "models: '{0}'",
        "models: ['{0}']",
        "models: {{a: '{0}'}}",
        "models: {{a: {{model_ref:{0}}}}}",
        "models: {{a: {{model: '{0}'}}}}",
        "models: {{'{0}': {{model_ref: x}}}}",
        "models: {{'{0}': {{model_ref: x}}, 'b{0}': {{model_ref: y}}}}",
        "models: {{a: {{model_ref: '{0}'}}, b: {{model_ref: '{0}'}}}}",
        "defaults: '{0}'\nmodels: {{}}",
        "defaults: {{model_ref: ['{0}']}}\nmodels: {{}}",
        "- '{0}'",
        "'{0}'",
    ],
)
def test_no_message_tells_a_secret(text):
    told = faults(text.format(URL))
    assert not [each for each in told if "hunter2" in each]


def test_a_configuration_printed_tells_no_secret():
    config = parse(f"models: {{a: {{model_ref: '{URL}'}}}}")
    assert config.entries["a"].ref == UrlRef(URL)
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    "text",
    [
        "{0}",
        "model: {0}",
        "models: {0}",
        "models: {{a: {0}}}",
        "models: [{0}]",
        "recheck: {0}\nmodels: {{}}",
        "cache_dir: [&a {0}, *a]\nmodels: {{}}",
        "models: {{a: {{model_ref: x, engine: {0}}}}}",
        "models: {{a: {{model_ref: x, expected_digest: {{? {0}\n : 5}}}}}}",
        "models:\n  ? _{0}\n  : {{model_ref: x}}",
        "models: {{}}\n? {0}\n: x",
    ],
)
def test_a_page_of_text_is_not_printed_back(text):
    assert max(map(len, faults(text.format("X" * 100_000)))) < 1000


def test_what_aliases_make_of_a_text_is_never_built():
    (told,) = faults(b"a: &a " + b"x" * 1_000_000 + b"\nb: [" + b"*a," * 400_000 + b"]")
    assert len(told) < 1000


def test_messages_are_safe_to_print():
    (told,) = faults('models: {"a\\e[31m": {model_ref: x}}')
    assert "\x1b" not in told
    assert "found     'a\\x1b[31m'" in told


# ---- any text

PIECES = st.sampled_from(
    [
        *("models:", "defaults:", "network:", "allow:", "recheck:", "cache_dir:", "runtime_dir:", "a:", "b:"),
        *("model_ref:", "expected_digest:", "strict_verification:", "engine:", "handoff:", "algo:", "value:"),
        *(" x", " {", "}", ", ", " [", "]", "\n", "\n  ", "\n    ", " true", " 5", " ''", " ~", " &a", " *a", " <<: "),
        *(f" sha256:{HEX}", " sha256", f" {HEX}", " '{runtime_dir}/{name}'", " ../x", " '{", " ~/x", " /", " '\\'"),
        *(" hf:org/repo", " s3://bucket/key", f" {URL}", " 'https:", " file:x", ' "\\0"', ' "\\e"', " 0x" + "f" * 5000),
    ]
)
VALUES = st.recursive(
    st.sampled_from(
        [None, True, 5, 1.5, "", "x", "../x", "{name}", "{x}", f"sha256:{HEX}", "sha256", HEX, "hf:o/r", URL]
    ),
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(
            st.sampled_from(["algo", "value", "allow", "x", "../x", "engine", "handoff"]), values, max_size=3
        )
    ),
    max_leaves=4,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["model_ref", "expected_digest", "strict_verification", "engine", "handoff", "x"]),
    VALUES,
    max_size=5,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "models": st.dictionaries(st.sampled_from(["a", "b", "-c", "[key]", URL]), ENTRIES | VALUES, max_size=3)
        | VALUES,
        "defaults": ENTRIES | VALUES,
        **dict.fromkeys(
            ("model_ref", "network", "recheck", "cache_dir", "runtime_dir", "engine", "handoff", "y"), VALUES
        ),
    },
)


def check_any(data):
    """Check that `data` is a configuration, which holds what it promises, or refused with a message that tells no secret."""
    try:
        config = parse(data)
    except ConfigError as error:
        assert error.faults
        assert "hunter2" not in str(error)
        assert all(fault.where.startswith("models.yaml") for fault in error.faults)
        return
    handoffs = [entry.handoff for entry in config.entries.values()]
    assert len({*handoffs}) == len(handoffs)
    assert all(path.startswith(config.root + os.sep) for path in handoffs)
    assert all(os.path.isabs(path) for path in (config.path, config.cache_dir, config.runtime_dir))
    assert all(os.path.isabs(entry.ref.path) for entry in config.entries.values() if entry.ref.is_local)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_a_configuration_or_refused(text):
    check_any(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_configuration_or_refused(data):
    check_any(data)


@given(DOCUMENTS)
def test_any_data_are_a_configuration_or_refused(data):
    check_any(json.dumps(data).encode())


# ---- names of files


@pytest.mark.parametrize(
    ("name", "handoff", "place", "what"),
    [
        ("n" * 300, "x.json", "", "the name of the checksum file would be too long"),
        ("n" * 249, "x.json", "", "the name of the checksum file would be too long"),
        ("n" * 245, "{name}-of-{engine}.json", "", "the name of the handoff would be too long"),
        ("n", f"{'模' * 84}.json", " → handoff", "the name of the handoff would be too long"),
        ("n", f"{'d' * 256}/x.json", " → handoff", "the name of the handoff would be too long"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_fault_with_its_line(name, handoff, place, what):
    text = f"models:\n  {name}:\n    model_ref: x.gguf\n    handoff: '{handoff}'\n"
    with pytest.raises(ConfigError) as caught:
        parse(text)
    (fault,) = caught.value.faults
    assert fault.what == what
    assert re.search(rf"models\.yaml:{'4' if place else '2'}, models → n+…?{place}$", fault.where), fault.where
    assert fault.expected == "at most 255 bytes"
    assert fault.fix == ("shorten the path of the handoff" if place else "give the entry a shorter name")


@pytest.mark.parametrize("name", ["n" * 248, "n"])
def test_the_longest_names_that_files_can_have_are_none(name):
    handoff = f"{'d' * 255}/{'x' * 250}.json"
    text = f"models:\n  {name}:\n    model_ref: x.gguf\n    handoff: '{handoff}'\n"
    assert list(parse(text).entries) == [name]
