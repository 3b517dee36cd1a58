"""A file in the wrong field, or made for another model, is recognised by its header, and the error names its field."""

import json
import shutil

import pytest

from model_provisioner.fs.fileset import Beside, discover
from model_provisioner.headers.compatibility import opened_in, read_checked
from model_provisioner.errors import UnsoundModelError, WrongKindError
from tests.support.gguf_bytes import LLAMA, Tensor, gguf, text, u32
from tests.support.project import TINY

CLIP = {"general.architecture": text("clip")}
MMPROJ = {**CLIP, "general.type": text("mmproj"), "clip.vision.projection_dim": u32(64)}
LORA = {**LLAMA, "general.type": text("adapter"), "adapter.type": text("lora")}
QUERY = "blk.0.attn_q.weight.lora_a"


def safetensors(*names: str) -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in names}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


PEFT = {
    "adapter_config.json": b'{"peft_type": "LORA", "r": 4}',
    "adapter_model.safetensors": safetensors("base_model.model.layers.0.self_attn.q_proj.lora_A.weight"),
}
WHOLE = {"config.json": b'{"model_type": "llama", "hidden_size": 64}', "model.safetensors": safetensors("w")}


@pytest.fixture
def read(tmp_path):
    """Read a model with a companion, each given as the bytes of a file or as the files of a folder."""

    def put(content, name):
        if isinstance(content, dict):
            (tmp_path / name).mkdir()
            for each, data in content.items():
                (tmp_path / name / each).write_bytes(data)
            return discover(str(tmp_path / name))
        (tmp_path / f"{name}.gguf").write_bytes(content)
        return discover(str(tmp_path / f"{name}.gguf"))

    def checked(model=None, engine="llamacpp", **companions):
        files = put(TINY.read_bytes() if model is None else model, "model")
        theirs = [Beside(role=role, id="local:x", files=put(each, role)) for role, each in companions.items()]
        return read_checked(files.with_companions(theirs) if theirs else files, engine)

    return checked


def said(caught, tmp_path):
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("model", "engine", "companions"),
    [
        (None, "llamacpp", {"mmproj": gguf(MMPROJ)}),
        (None, "llamacpp", {"mmproj": gguf(CLIP)}),
        # LLaVA's projectors of 2023 and 2024 tell the width of CLIP's own projection, not the model's.
        (None, "llamacpp", {"mmproj": gguf({**CLIP, "clip.vision.projection_dim": u32(768)})}),
        (None, "llamacpp", {"lora": gguf(LORA)}),
        (None, "llamacpp", {"lora": gguf(LORA, [Tensor(name=QUERY, shape=(64, 1), size=256)])}),
        (None, "llamacpp", {"mmproj": gguf(MMPROJ), "lora": gguf(LORA)}),
        (None, "vllm", {"lora": PEFT}),
        (WHOLE, "vllm", {"lora": PEFT}),
        (WHOLE, "vllm", {"lora": {**PEFT, "config.json": WHOLE["config.json"]}}),
        (WHOLE, "vllm", {"lora": {"adapter_config.json": b"{}", "adapter_model.bin": b"torch"}}),
        # A model that its training left an adapter's configuration beside.
        ({**WHOLE, "adapter_config.json": PEFT["adapter_config.json"]}, "vllm", {}),
        ({"weights.bin": b"of a format that tells nothing"}, "vllm", {"lora": {"x.bin": b"neither does this"}}),
    ],
    ids=[
        "projector",
        "old projector",
        "LLaVA",
        "LoRA",
        "LoRA of the same width",
        "both",
        "PEFT beside GGUF",
        "PEFT",
        "PEFT with config",
        "PEFT of torch",
        "model with adapter_config",
        "unknown formats",
    ],  # fmt: skip
)
def test_what_fits(read, model, engine, companions):
    read(model, engine, **companions)


def test_a_note_on_a_companion_begins_with_its_name(read):
    found = read(lora=gguf({**LLAMA, "adapter.type": text("lora")}))
    note = "general.type is missing: llama.cpp takes an adapter only where that says so"
    assert found.notes == (f"lora lora.gguf: {note}",)


@pytest.mark.parametrize(
    ("model", "what", "found", "fix"),
    [
        (
            gguf(LORA),
            "the model is an adapter",
            "an adapter, made for architecture llama",
            "name it under lora: of the model that it was made for",
        ),
        (
            gguf(LLAMA, [Tensor(name=QUERY)]),
            "the model is an adapter",
            "an adapter, made for architecture llama",
            "name it under lora: of the model that it was made for",
        ),
        (
            gguf(CLIP),
            "the model is a projector",
            "a projector, of architecture clip",
            "name it under mmproj: of the model that it was made for",
        ),
        (
            gguf({**LLAMA, "general.type": text("imatrix")}),
            "the model is an importance matrix",
            "an importance matrix, of architecture llama",
            "it serves to quantize a model; no engine loads it",
        ),
    ],
    ids=["adapter", "adapter by its tensors", "projector", "importance matrix"],
)
def test_what_is_no_model(read, tmp_path, model, what, found, fix):
    with pytest.raises(WrongKindError) as caught:
        read(model)
    assert said(caught, tmp_path) == (
        f"{what}\n  where     model.gguf\n  expected  a model\n  found     {found}\n  fix       {fix}"
    )


def test_a_peft_folder_is_no_model(read):
    with pytest.raises(WrongKindError) as caught:
        read(PEFT, "vllm")
    assert caught.value.what == "the model is an adapter"
    assert caught.value.found == "an adapter"


@pytest.mark.parametrize(
    ("companions", "message"),
    [
        (
            {"mmproj": gguf(LORA)},
            "mmproj mmproj.gguf is an adapter, not a projector\n"
            "  where     mmproj.gguf\n"
            "  expected  a projector: a GGUF of architecture clip\n"
            "  found     an adapter, made for architecture llama\n"
            "  fix       name it under lora: of the model that it was made for",
        ),
        (
            {"mmproj": gguf()},
            "mmproj mmproj.gguf is a model, not a projector\n"
            "  where     mmproj.gguf\n"
            "  expected  a projector: a GGUF of architecture clip\n"
            "  found     a model, of architecture llama\n"
            "  fix       name it as the model_ref of an entry",
        ),
        (
            {"lora": gguf(MMPROJ)},
            "lora lora.gguf is a projector, not an adapter\n"
            "  where     lora.gguf\n"
            "  expected  a LoRA adapter: a GGUF, or a PEFT folder\n"
            "  found     a projector, of architecture clip\n"
            "  fix       name it under mmproj: of the model that it was made for",
        ),
        (
            {"lora": WHOLE},
            "lora lora is a model, not an adapter\n"
            "  where     lora\n"
            "  expected  a LoRA adapter: a GGUF, or a PEFT folder\n"
            "  found     a model, of architecture llama\n"
            "  fix       name it as the model_ref of an entry",
        ),
        (
            {"lora": gguf({**LORA, "adapter.type": text("ia3")})},
            "lora lora.gguf is an adapter of another kind\n"
            "  where     lora.gguf\n"
            "  expected  a LoRA\n"
            "  found     adapter type ia3\n"
            "  fix       name a LoRA",
        ),
        (
            {"lora": gguf({**LORA, "general.architecture": text("qwen2")})},
            "lora lora.gguf was made for another architecture\n"
            "  where     lora.gguf\n"
            "  expected  general.architecture llama, as the model's\n"
            "  found     general.architecture qwen2\n"
            "  fix       get the adapter that was made for this model",
        ),
        (
            {"lora": gguf(LORA, [Tensor(name=QUERY, shape=(128, 1), size=512)])},
            "lora lora.gguf was made for a model of another size\n"
            "  where     lora.gguf\n"
            "  expected  attention weights of width 64, as the model's\n"
            "  found     width 128\n"
            "  fix       get the adapter that was made for this model",
        ),
        (
            {"mmproj": gguf({**MMPROJ, "clip.vision.projection_dim": u32(4096)})},
            "mmproj mmproj.gguf was made for another model\n"
            "  where     mmproj.gguf\n"
            "  expected  a projection to 64, the model's llama.embedding_length\n"
            "  found     a projection to 4096\n"
            "  fix       get the projector that was made for this model",
        ),
        (
            {"lora": PEFT},
            "lora lora is of another format than the model\n"
            "  where     lora\n"
            "  expected  GGUF, which is all that llama.cpp loads\n"
            "  found     safetensors\n"
            "  fix       convert it: convert_lora_to_gguf.py of llama.cpp",
        ),
    ],
    ids=lambda value: value.partition("\n")[0] if isinstance(value, str) else "",
)
def test_what_does_not_fit_the_shipped_model(read, tmp_path, companions, message):
    with pytest.raises(WrongKindError) as caught:
        read(**companions)
    assert said(caught, tmp_path) == message


@pytest.mark.parametrize(
    ("companions", "fix"),
    [
        (
            {"mmproj": gguf(MMPROJ)},
            "remove it: a folder of safetensors has its projector inside, and its engine takes no other",
        ),
        (
            {"lora": gguf(LORA)},
            "name the folder of the adapter as it was trained: adapter_config.json and adapter_model.safetensors",
        ),
    ],
    ids=["projector", "adapter"],
)
def test_a_gguf_serves_no_folder_of_safetensors(read, companions, fix):
    with pytest.raises(WrongKindError) as caught:
        read(WHOLE, "vllm", **companions)
    assert caught.value.what.endswith(" is of another format than the model")
    assert (caught.value.expected, caught.value.found, caught.value.fix) == ("safetensors, as the model's", "GGUF", fix)


def test_the_error_of_a_broken_companion_begins_with_its_name(read):
    with pytest.raises(UnsoundModelError) as caught:
        read(lora=b"GGUF")
    assert caught.value.what.startswith("lora lora.gguf: ")


def test_an_adapter_is_held_to_the_shard_that_tells_the_width(tmp_path, tiny_models):
    for path in tiny_models.glob("*-of-00003.gguf"):
        shutil.copy(path, tmp_path)
    (tmp_path / "wide.gguf").write_bytes(gguf(LORA, [Tensor(name=QUERY, shape=(128, 1), size=512)]))
    lora = Beside(role="lora", id="local:x", files=discover(str(tmp_path / "wide.gguf")))
    files = discover(str(tmp_path / "tiny-llama-split-00001-of-00003.gguf"))
    with pytest.raises(WrongKindError, match="made for a model of another size"):
        read_checked(files.with_companions([lora]), "llamacpp")


# ---- engines that open no folder


def test_llama_cpp_opens_the_one_gguf_of_a_folder_and_other_engines_the_folder():
    names = ["README.md", "m-Q8_0.gguf"]
    assert opened_in(names, "llamacpp", "/m/") == "m-Q8_0.gguf"
    assert opened_in(names, "vllm", "/m/") is None
    assert opened_in(["b-00002-of-00002.gguf", "b-00001-of-00002.gguf"], "llamacpp", "/m/") == "b-00001-of-00002.gguf"
    assert opened_in(["model.safetensors"], "llamacpp", "/m/") is None


def test_several_ggufs_are_listed_with_their_quantizations():
    names = ["m-Q8_0.gguf", "m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf", "mmproj-F16.gguf", "x.gguf"]
    with pytest.raises(WrongKindError) as caught:
        opened_in(names, "llamacpp", "hf:org/m/")
    assert str(caught.value) == (
        "llama.cpp opens one GGUF and no folder\n"
        "  where     hf:org/m\n"
        "  expected  a reference that names one GGUF\n"
        "  found     m-Q4_K_M-00001-of-00002.gguf (Q4_K_M), m-Q8_0.gguf (Q8_0), mmproj-F16.gguf (F16), x.gguf\n"
        "  fix       name the one to load: hf:org/m/m-Q4_K_M-00001-of-00002.gguf; a projector goes under mmproj:"
    )
