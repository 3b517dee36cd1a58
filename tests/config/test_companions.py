"""What may stand under `mmproj` and `lora`, and how its faults are said: all of them in one run."""

import pytest

from model_provisioner.errors import ConfigError
from model_provisioner.config.entries import Companion
from model_provisioner.config.load import parse_config
from model_provisioner.references.digest import Digest
from model_provisioner.references.reference import HubRef, LocalRef

HEX = "0123456789abcdef" * 4


def companions(text, top=""):
    config = parse_config(f"{top}models: {{a: {{model_ref: x.gguf, {text}}}}}".encode(), "/p/models.yaml", environ={})
    return config.entries["a"].companions


def faults(text, top=""):
    with pytest.raises(ConfigError) as caught:
        companions(text, top)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mmproj: p.gguf", [Companion(role="mmproj", ref=LocalRef("/p/p.gguf"))]),
        ("lora: 'hf:org/style@v1'", [Companion(role="lora", ref=HubRef("org/style", "v1"))]),
        (
            f"lora: [a.gguf, {{model_ref: b.gguf, expected_digest: 'sha256:{HEX}'}}]",
            [
                Companion(role="lora", ref=LocalRef("/p/a.gguf")),
                Companion(role="lora", ref=LocalRef("/p/b.gguf"), expected=Digest("sha256", HEX)),
            ],
        ),
        # The projector comes first, wherever it stands.
        (
            "lora: a.gguf, mmproj: {model_ref: p.gguf}",
            [
                Companion(role="mmproj", ref=LocalRef("/p/p.gguf")),
                Companion(role="lora", ref=LocalRef("/p/a.gguf")),
            ],
        ),
        ("mmproj: null, lora: []", []),
        ("engine: vllm", []),
    ],
)
def test_what_is_named(text, found):
    assert list(companions(text)) == found


def test_defaults_may_name_them_and_an_entry_may_have_none():
    defaults = "defaults: {lora: a.gguf}\n"
    assert [each.ref.path for each in companions("engine: vllm", defaults)] == ["/p/a.gguf"]
    assert companions("lora: []", defaults) == ()


def test_a_document_of_one_model_may_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (entry,) = parse_config(b"model_ref: x.gguf\nmmproj: p.gguf", "/p/m.yaml", environ={}).entries.values()
    assert [each.ref.path for each in entry.companions] == [f"{tmp_path}/p.gguf"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "mmproj: [p.gguf]",
            "mmproj has the wrong type\n"
            "  where     /p/models.yaml:1, models → a → mmproj\n"
            "  expected  a reference, or a mapping with model_ref: and expected_digest:\n"
            "  found     ['p.gguf']\n"
            "  fix       name one file: a model has one projector",
        ),
        (
            "lora: [a.gguf, 5]",
            "lora has the wrong type\n"
            "  where     /p/models.yaml:1, models → a → lora → 1\n"
            "  expected  a reference, a mapping with model_ref: and expected_digest:, or a list of these\n"
            "  found     5\n"
            "  fix       write a text, in quotes",
        ),
        (
            "lora: {model_ref: a.gguf, expected_digset: x}",
            "unknown field 'expected_digset'\n"
            "  where     /p/models.yaml:1, models → a → lora → expected_digset\n"
            "  expected  one of model_ref, expected_digest\n"
            "  found     expected_digset\n"
            "  fix       write expected_digest",
        ),
        (
            "lora: {}",
            "model_ref is missing\n"
            "  where     /p/models.yaml:1, models → a → lora\n"
            "  expected  model_ref: and its value\n"
            "  found     none\n"
            '  fix       add   model_ref: "file:models/lora.gguf"',
        ),
        (
            "mmproj: {model_ref: 5}",
            "model_ref has the wrong type\n"
            "  where     /p/models.yaml:1, models → a → mmproj → model_ref\n"
            "  expected  a text\n"
            "  found     5\n"
            "  fix       put it in quotes: without, YAML takes it for a number",
        ),
        (
            "mmproj: {model_ref: p.gguf, expected_digest: 'md5:0'}",
            "unknown digest algorithm\n"
            "  where     /p/models.yaml:1, models → a → mmproj → expected_digest\n"
            "  expected  sha256 (one file) or dirhash (a split or a folder)\n"
            "  found     'md5'\n"
            "  fix       SHA-256 is what `sha256sum FILE` prints",
        ),
        (
            "lora: 'http://user:pw@host/a.gguf'",
            "models are not fetched over http:\n"
            "  where     /p/models.yaml:1, models → a → lora\n"
            "  expected  https://HOST/FILE\n"
            "  found     http://…\n"
            "  fix       write https://…",
        ),
        (
            "mmproj: ./x.gguf",
            "a names one file twice\n"
            "  where     /p/models.yaml:1, models → a → mmproj\n"
            "  expected  another file for each field\n"
            "  found     local:/p/x.gguf, which is its model_ref\n"
            "  fix       remove one of them",
        ),
        (
            "lora: [a.gguf, ./a.gguf]",
            "a names one file twice\n"
            "  where     /p/models.yaml:1, models → a → lora → 1\n"
            "  expected  another file for each field\n"
            "  found     local:/p/a.gguf, which is lora a.gguf already\n"
            "  fix       remove one of them",
        ),
        (
            "lora: a.gguf, handoff: a.gguf",
            "the handoff of a would take the place of the lora a.gguf of a\n"
            "  where     /p/models.yaml:1, models → a → handoff\n"
            "  expected  a file of its own\n"
            "  found     /p/a.gguf\n"
            '  fix       choose another name:   handoff: "{runtime_dir}/engines/{name}.json"',
        ),
    ],
)
def test_faults_and_how_they_are_said(text, said):
    assert faults(text) == [said]


def test_every_fault_is_told_at_once():
    assert len(faults("mmproj: 5, lora: [6, {}, {model_ref: 7}, {model_ref: '', zzz: 1}]")) == 6


def test_a_fault_of_the_defaults_is_told_once():
    (said,) = faults("engine: vllm", "defaults: {lora: 5}\n")
    assert "defaults → lora" in said
