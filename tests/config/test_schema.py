"""The JSON Schema of models.yaml: what it says is what `parse_config` does."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import ConfigError
from model_provisioner.config.load import parse_config
from model_provisioner.config.document import read_document
from model_provisioner.config.schema import Cache, DEFAULT_HANDOFF, Entry, Network, Project, Single, json_schema

HEX = "0123456789abcdef" * 4
SCHEMA = json_schema()
ENTRY = [
    *("model_ref", "expected_digest", "strict_verification", "engine", "handoff", "include", "exclude"),
    *("keep", "mmproj", "lora", "signature"),
]
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_valid(text):
    return VALIDATOR.is_valid(read_document(text.encode(), "models.yaml").data)


def is_taken(text):
    try:
        parse_config(text.encode(), "/project/models.yaml", environ={})
    except ConfigError:
        return False
    return True


def entry(text):
    """Return a file of one entry with these fields."""
    return f"models: {{a: {{model_ref: x, {text}}}}}"


# ---- the schema itself


def test_it_is_a_schema_of_the_draft_it_names():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_is_plain_json_and_the_same_each_time():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA == json_schema()


def test_it_stands_alone():
    names = {f"#/$defs/{name}" for name in SCHEMA["$defs"]}
    assert {node["$ref"] for node in nodes(SCHEMA) if "$ref" in node} <= names


def nodes(node):
    """Yield every mapping of a schema."""
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(each)


@pytest.mark.parametrize(
    ("definition", "field"),
    [(model.__name__, field) for model in (Project, Single, Entry, Network, Cache) for field in model.model_fields]
    + [("Defaults", field) for field in Entry.model_fields],
)
def test_every_field_has_a_description_for_the_editor(definition, field):
    shown = SCHEMA["$defs"][definition]["properties"][field]
    if "$ref" in shown:
        shown = {**SCHEMA["$defs"][shown["$ref"].removeprefix("#/$defs/")], **shown}
    assert shown["description"].endswith((".", "…"))


@pytest.mark.parametrize(
    ("definition", "fields"),
    [
        ("Project", ["cache_dir", "runtime_dir", "network", "cache", "mirrors", "recheck", "defaults", "models"]),
        ("Entry", ENTRY),
        ("Defaults", ENTRY),
        ("Network", ["allow"]),
        ("Cache", ["max_size"]),
        ("Signature", ["bundle", "public_key", "identity", "issuer"]),
    ],
)
def test_an_editor_completes_every_field_and_marks_any_other(definition, fields):
    shown = SCHEMA["$defs"][definition]
    assert list(shown["properties"]) == fields
    assert shown["additionalProperties"] is False


def test_the_defaults_are_those_of_an_empty_configuration():
    config = parse_config(b"models: {a: {model_ref: x}}", "/project/models.yaml", environ={})
    project, one = SCHEMA["$defs"]["Project"]["properties"], SCHEMA["$defs"]["Entry"]["properties"]
    (made,) = config.entries.values()
    assert config.runtime_dir == f"/project/{project['runtime_dir']['default']}"
    assert project["cache_dir"]["default"] == "~/.cache/models"
    assert config.recheck == project["recheck"]["default"]
    assert list(config.allow) == SCHEMA["$defs"]["Network"]["properties"]["allow"]["default"]
    assert (made.strict, made.engine) == (one["strict_verification"]["default"], one["engine"]["default"])
    assert one["handoff"]["default"] == DEFAULT_HANDOFF
    assert made.handoff == "/project/" + DEFAULT_HANDOFF.format(runtime_dir=".runtime", engine="llamacpp")


# ---- the schema and the reader


@pytest.mark.parametrize(
    "text",
    [
        "models: {}",
        "models: {a: {model_ref: x}}",
        "models: {A.b_c-9: {model_ref: x}}",
        '{"models": {"0": {"model_ref": "hf:org/repo@v1/x.gguf"}}}',
        "cache_dir: c\nruntime_dir: r\nnetwork: {allow: [h]}\nrecheck: sha256\ndefaults: {engine: vllm}\nmodels: {}",
        "network: {}\ndefaults: {}\nmodels: {}",
        "cache: {max_size: 200GB}\nmodels: {}",
        "cache: {max_size: 1.5 GiB}\nmodels: {}",
        "cache: {max_size: 0}\nmodels: {}",
        "cache: {}\ndefaults: {keep: true}\nmodels: {}",
        "defaults:\nmodels: {}",
        "defaults: {model_ref: x}\nmodels: {a: {}}",
        "defaults: {model_ref: null}\nmodels: {a: {model_ref: x}}",
        "defaults: {expected_digest: null, strict_verification: false, handoff: '{name}'}\nmodels: {}",
        entry("strict_verification: false, engine: vllm-2_x, handoff: '{runtime_dir}/{name}.json'"),
        entry("expected_digest: null"),
        entry("mmproj: p.gguf, lora: a.gguf"),
        entry("mmproj: null, lora: []"),
        entry(f"mmproj: {{model_ref: p.gguf, expected_digest: 'sha256:{HEX}'}}"),
        entry("lora: [a.gguf, {model_ref: 'hf:org/b'}, {model_ref: c, expected_digest: null}]"),
        "defaults: {mmproj: p.gguf, lora: [a.gguf]}\nmodels: {a: {model_ref: x}}",
        entry(f"expected_digest: sha256:{HEX}"),
        entry(f"expected_digest: sha256:{HEX.upper()}"),
        entry(f"expected_digest: dirhash:{HEX}"),
        entry(f"expected_digest: {{algo: sha256, value: {HEX}}}"),
        entry(f"expected_digest: {{algo: dirhash, value: {HEX.upper()}}}"),
        entry(f"expected_digest: {{a/b.gguf: sha256:{HEX}, c: sha256:{HEX}}}"),
        "model_ref: x",
        f"model_ref: x\nexpected_digest: {{algo: sha256, value: {HEX}}}\nstrict_verification: true",
        "model_ref: x\nengine: vllm\nhandoff: h\ncache_dir: c\nruntime_dir: r\nnetwork: {allow: []}\nrecheck: xxh3",
    ],
)
def test_what_is_taken_is_valid(text):
    assert is_taken(text)
    VALIDATOR.validate(read_document(text.encode(), "models.yaml").data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "models",
        "5",
        "cache_dir: c",
        "models:",
        "models: []",
        "models: a",
        "models: {a: }",
        "models: {a: x}",
        "models: {a: []}",
        "models: {a: {}}",
        "models: {a: {model_ref: }}",
        "models: {a: {model_ref: 5}}",
        "models: {a: {model_ref: [x]}}",
        "models: {-a: {model_ref: x}}",
        "models: {a b: {model_ref: x}}",
        "models: {'': {model_ref: x}}",
        "models: {é: {model_ref: x}}",
        "models: {a/b: {model_ref: x}}",
        "models: {}\nmodel_ref: x",
        "models: {}\nmodel: x",
        "models: {}\ncache_dir: 5",
        "models: {}\ncache_dir:",
        "models: {}\nruntime_dir: []",
        "models: {}\nrecheck: md5",
        "models: {}\nrecheck:",
        "models: {}\nnetwork:",
        "models: {}\nnetwork: []",
        "models: {}\ncache: {max_size: much}",
        "models: {}\ncache: {max_size: -1}",
        "models: {}\ncache: {max_size: true}",
        "models: {}\ncache: {size: 5}",
        "models: {a: {model_ref: x, keep: 5}}",
        "models: {}\nnetwork: {allow: h}",
        "models: {}\nnetwork: {allow: [5]}",
        "models: {}\nnetwork: {alow: []}",
        "models: {}\ndefaults: []",
        "models: {}\ndefaults: x",
        "models: {}\ndefaults: {engin: x}",
        "models: {}\ndefaults: {engine: X}",
        "models: {}\ndefaults: {strict_verification: 'no'}",
        "defaults: {model_ref: null}\nmodels: {a: {}}",
        "defaults: {engine: vllm}\nmodels: {a: {}}",
        "defaults:\nmodels: {a: {}}",
        entry("modle_ref: x"),
        entry("mmproj: 5"),
        entry("mmproj: [p.gguf]"),
        entry("mmproj: {}"),
        entry("mmproj: {model_ref: p.gguf, role: mmproj}"),
        entry("lora: [[a.gguf]]"),
        entry("lora: [null]"),
        entry("lora: {model_ref: 5}"),
        entry("lora: {model_ref: a.gguf, expected_digest: 5}"),
        entry("strict_verification: 1"),
        entry("strict_verification: 'true'"),
        entry("strict_verification: null"),
        entry("engine: VLLM"),
        entry("engine: 1"),
        entry("engine: ''"),
        entry("handoff: 5"),
        entry("handoff: null"),
        entry("expected_digest: 5"),
        entry("expected_digest: []"),
        entry("expected_digest: {}"),
        entry("expected_digest: ''"),
        entry(f"expected_digest: {HEX}"),
        entry(f"expected_digest: md5:{HEX}"),
        entry(f"expected_digest: sha256:{HEX}0"),
        entry(f"expected_digest: sha256:{HEX[1:]}"),
        entry(f"expected_digest: sha256:g{HEX[1:]}"),
        entry("expected_digest: {algo: sha256}"),
        entry(f"expected_digest: {{value: {HEX}}}"),
        entry(f"expected_digest: {{algo: md5, value: {HEX}}}"),
        entry("expected_digest: {algo: sha256, value: 12}"),
        entry(f"expected_digest: {{a: dirhash:{HEX}}}"),
        entry(f"expected_digest: {{a: {HEX}}}"),
        entry("expected_digest: {a: }"),
        "model_ref:",
        "model_ref: 5",
        "model_ref: x\ndefaults: {}",
        "model_ref: x\nexpected_digest: 5",
        "model_ref: x\nengine: X",
        "model_ref: x\nextra: 1",
    ],
)
def test_what_is_refused_is_not_valid(text):
    assert not is_taken(text)
    assert not is_valid(text)


DIGESTS = st.sampled_from(
    [None, 5, [], {}, f"sha256:{HEX}", f"md5:{HEX}", {"algo": "sha256", "value": HEX}, {"a": HEX}]
)
FIELDS = {
    "model_ref": st.sampled_from(["x", "x", 5, None]),
    "expected_digest": DIGESTS | st.just({"a": f"sha256:{HEX}"}),
    "strict_verification": st.sampled_from([True, False, 1, None, "yes"]),
    "engine": st.sampled_from(["vllm", "X", "", 5, None]),
    "handoff": st.sampled_from(["{name}", 5, None]),
    "mmproj": st.sampled_from(["p", None, 5, [], {}, {"model_ref": "p"}, {"model_ref": "p", "x": 1}]),
    "lora": st.sampled_from(["a", None, 5, [], [None], ["a", {"model_ref": "b", "expected_digest": "x"}], [[]]]),
    "extra": st.none(),
}
SHARED = {
    "cache_dir": st.sampled_from(["c", 5, None]),
    "runtime_dir": st.sampled_from(["r", 5, None]),
    "cache": st.sampled_from([{}, {"max_size": "2GB"}, {"max_size": 5}, {"max_size": "2 gb"}, {"x": 1}, None]),
    "network": st.sampled_from([{}, {"allow": ["h"]}, {"allow": [5]}, {"allow": "h"}, {"x": 1}, None]),
    "recheck": st.sampled_from(["xxh3", "sha256", "md5", None]),
}


def some(fields):
    """Return a strategy of mappings with some of these fields, few at a time, so that many are without a fault."""
    return st.lists(st.sampled_from(list(fields)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )


ENTRIES = some(FIELDS) | some(FIELDS).map(lambda fields: {"model_ref": "x", **fields})
PROJECTS = st.builds(
    lambda shared, rest, models: {**shared, **rest, "models": models},
    some(SHARED),
    some({"defaults": some(FIELDS) | st.sampled_from([None, [], 5])}),
    st.dictionaries(st.sampled_from(["a", "-b"]), ENTRIES, max_size=1) | st.sampled_from([None, [], {"a": None}]),
)
SINGLES = st.builds(lambda shared, fields: {**shared, **fields}, some(SHARED), ENTRIES)


@given(PROJECTS | SINGLES)
def test_the_schema_and_the_reader_agree(data):
    text = json.dumps(data)
    assert is_valid(text) == is_taken(text)


DOCUMENTED = """\
cache_dir: ~/.cache/models
runtime_dir: .runtime
network:
  allow: []
defaults: {}
models:
  tiny-llama:
    model_ref: "file:models/tiny-llama.gguf"
    expected_digest: {algo: sha256, value: "%s"}
    strict_verification: true
    engine: llamacpp
    handoff: "{runtime_dir}/engines/{engine}.json"
"""


def test_the_documented_example_is_taken_and_valid():
    assert is_taken(DOCUMENTED % HEX)
    assert is_valid(DOCUMENTED % HEX)


def test_the_command_prints_it(project):
    assert json.loads(project.doit("model-schema").out) == SCHEMA
