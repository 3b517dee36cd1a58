"""`hf:org/repo:Q4_K_M`: the one GGUF of a quantization, in the layouts that people publish."""

import json

import pytest

from tests.support.remote import TINY_BYTES, TINY_SHA, resolved

OTHER = TINY_BYTES + bytes(32)
"""A sound GGUF of other bytes."""


@pytest.fixture
def repository(remote, hub):
    """Publish files of these names, the model that is meant and others, and ask for a quantization of them."""

    def publish(names, meant, quantization):
        hub.add("org/tiny", {name: TINY_BYTES if name == meant else OTHER for name in names})
        remote.models({"tiny": f"hf:org/tiny:{quantization}"})
        return remote

    return publish


LAYOUTS = {
    "plain": (["m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md"], "m-Q4_K_M.gguf", "Q4_K_M"),
    "written in small letters": (["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "m-Q4_K_M.gguf", "q4_k_m"),
    "published in small letters": (["m-q4_k_m.gguf", "m-q8_0.gguf"], "m-q4_k_m.gguf", "Q4_K_M"),
    "a folder each": (["Q4_K_M/m-Q4_K_M.gguf", "Q8_0/m-Q8_0.gguf"], "Q4_K_M/m-Q4_K_M.gguf", "Q4_K_M"),
    "a folder each, that alone says it": (["Q4_K_M/m.gguf", "Q8_0/m.gguf"], "Q4_K_M/m.gguf", "Q4_K_M"),
    "UD beside plain": (["m-UD-Q4_K_XL.gguf", "m-Q4_K_XL.gguf"], "m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
    "plain beside UD": (["m-UD-Q4_K_XL.gguf", "m-Q4_K_XL.gguf"], "m-Q4_K_XL.gguf", "Q4_K_XL"),
    "a longer name beside": (["m-Q4_K.gguf", "m-Q4_K_M.gguf", "m-IQ4_K.gguf"], "m-Q4_K.gguf", "Q4_K"),
    "projectors beside": (["m-F16.gguf", "mmproj-F16.gguf", "mmproj-model-f16.gguf"], "m-F16.gguf", "F16"),
    "an importance matrix beside": (["m.Q8_0.gguf", "m.imatrix.gguf", "imatrix_unsloth.gguf"], "m.Q8_0.gguf", "Q8_0"),
    "made with one": (["m-imatrix-Q8_0.gguf", "m.imatrix.gguf"], "m-imatrix-Q8_0.gguf", "Q8_0"),
    "by the letter's other name": (["m-fp16.gguf", "m-Q8_0.gguf"], "m-fp16.gguf", "F16"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gguf_of_a_quantization_is_fetched_and_no_other(repository, hub, layout):
    names, meant, quantization = LAYOUTS[layout]
    tiny = repository(names, meant, quantization)
    tiny.provision()
    assert resolved(hub) == [meant]
    assert tiny.bytes_of("tiny") == TINY_BYTES
    handoff = tiny.project.handoff("tiny")
    assert handoff["model"]["id"] == f"hf:org/tiny:{quantization.upper()}"
    assert handoff["metadata"]["digest"]["value"] == TINY_SHA


def test_a_split_counts_as_one(remote, hub, tiny_models):
    shards = {f"F32/{path.name}": path.read_bytes() for path in tiny_models.glob("*-of-00003.gguf")}
    assert len(shards) == 3
    hub.add("org/tiny", {**shards, "m-Q8_0.gguf": OTHER})
    remote.models({"tiny": "hf:org/tiny:F32"})
    remote.provision()
    first, *_ = sorted(name.removeprefix("F32/") for name in shards)
    assert remote.path("tiny").name == first
    assert sorted(resolved(hub)) == sorted(shards)


def test_the_lock_has_the_file_that_was_chosen_and_holds_when_another_is_published(repository, hub):
    tiny = repository(["Q4_K_M/m.gguf", "Q8_0/m.gguf"], "Q4_K_M/m.gguf", "q4_k_m")
    tiny.doit("model-lock")
    locked = json.loads(tiny.lock.read_text())["models"]["tiny"]
    assert locked["ref"] == "hf:org/tiny:Q4_K_M"
    assert locked["revision"] == hub.references["org/tiny"]["main"]
    assert locked["files"] == [{"path": "m.gguf", "size": len(TINY_BYTES), "sha256": TINY_SHA}]

    hub.add("org/tiny", {"new/m-Q4_K_M.gguf": OTHER})
    tiny.empty_cache()
    hub.forget()
    assert "pass  tiny" in tiny.provision().out
    assert resolved(hub) == ["Q4_K_M/m.gguf"]
    assert tiny.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"

    tiny.doit("model-lock", "--upgrade", "tiny")
    assert json.loads(tiny.lock.read_text())["models"]["tiny"]["files"][0]["path"] == "m-Q4_K_M.gguf"


def test_a_revision_may_be_named(repository, hub):
    tiny = repository(["m-Q4_K_M.gguf"], "m-Q4_K_M.gguf", "Q4_K_M")
    commit = hub.references["org/tiny"]["main"]
    hub.add("org/tiny", {"m-Q4_K_M.gguf": OTHER})
    tiny.models({"tiny": f"hf:org/tiny@{commit}:Q4_K_M"})
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert tiny.project.handoff("tiny")["model"]["id"] == "hf:org/tiny:Q4_K_M"


def test_an_expected_digest_is_that_of_the_file(repository):
    tiny = repository(["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "m-Q4_K_M.gguf", "Q4_K_M")
    tiny.models({"tiny": {"model_ref": "hf:org/tiny:Q4_K_M", "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "pass  tiny" in tiny.provision().out
    tiny.models({"tiny": {"model_ref": "hf:org/tiny:Q8_0", "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "the digest differs from what is expected" in tiny.provision(code=1).out


SIZE = f"{len(OTHER) / 1e3:.1f} KB"


@pytest.mark.parametrize(
    ("names", "quantization", "told"),
    [
        (
            ["m-Q4_K_M.gguf", "m-UD-Q4_K_XL.gguf", "mmproj-Q6_K.gguf"],
            "Q6_K",
            "FAIL  tiny  the repository has no GGUF of the quantization Q6_K\n"
            "        where     hf:org/tiny:Q6_K\n"
            "        expected  one of what there is\n"
            f"        found     Q4_K_M ({SIZE}), UD-Q4_K_XL ({SIZE})\n"
            "        fix       name one of these: hf:org/tiny:Q4_K_M\n",
        ),
        (
            ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"],
            "Q4_K_M",
            "FAIL  tiny  the repository has 2 GGUFs of the quantization Q4_K_M\n"
            "        where     hf:org/tiny:Q4_K_M\n"
            "        expected  one\n"
            f"        found     a-Q4_K_M.gguf ({SIZE}), b-Q4_K_M.gguf ({SIZE})\n"
            "        fix       name the file: hf:org/tiny/a-Q4_K_M.gguf\n",
        ),
        (
            ["m.gguf"],
            "Q4_K_M",
            "FAIL  tiny  the repository has no GGUF of the quantization Q4_K_M\n"
            "        where     hf:org/tiny:Q4_K_M\n"
            "        expected  one of what there is\n"
            f"        found     m.gguf ({SIZE})\n"
            "        fix       name the file: hf:org/tiny/m.gguf\n",
        ),
        (
            ["model.safetensors", "config.json", "mmproj-F16.gguf"],
            "F16",
            "FAIL  tiny  the repository has no GGUF that is a model\n"
            "        where     hf:org/tiny:F16\n"
            "        expected  one of what there is\n"
            "        found     3 other files\n"
            "        fix       name a repository with GGUFs: its name often ends in -GGUF\n",
        ),
    ],
)
def test_none_and_several_are_errors_that_list_what_there_is(repository, hub, names, quantization, told):
    tiny = repository(names, None, quantization)
    assert told in tiny.provision(code=1).out
    assert resolved(hub) == []
    if "hf:org/tiny" in told.splitlines()[-1]:  # the fix, tried
        tiny.models({"tiny": told.rstrip().rpartition(": ")[2]})
        tiny.provision()
