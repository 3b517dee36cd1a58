"""What is advised for a file or folder that is no sound model makes it one, or another is named."""

import json
import os
import shutil
import struct
import subprocess
import sys

import pytest

from tests.advice.conftest import PROJECTOR
from tests.support.advice import advised
from tests.support.gguf_bytes import I32, U16, Tensor, gguf, scalar, text, u32
from tests.support.remote import TINY_BYTES

HEADED = {"general.architecture": text("llama")}


def safetensors(header=None, data=b"\0" * 4) -> bytes:
    if header is None:
        header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


GOOD = {"x.gguf": TINY_BYTES, "x.safetensors": safetensors(), "x": TINY_BYTES}


@pytest.mark.parametrize(
    ("sentence", "name", "data"),
    [
        ("get the model again, or give the file the suffix of what it is", "x.gguf", b"PK\3\4 and so on"),
        ("convert the model again with a current llama.cpp", "x.gguf", b"GGUF\1\0\0\0" + bytes(16)),
        ("get the file again from its source: it was cut off", "x.gguf", TINY_BYTES[:-100]),
        (
            "get the file again from its source: it was cut off, or its header is damaged",
            "x.gguf",
            TINY_BYTES[:100],
        ),
        (
            "get the file again from its source: its header is damaged",
            "x.gguf",
            gguf([*HEADED.items(), ("a", u32(1)), ("a", u32(2))]),
        ),
        (
            "get the model in a quantization that llama.cpp itself has: forks of it have types of their own",
            "x.gguf",
            gguf(HEADED, [Tensor(type=200)]),
        ),
        (
            "get the model in another quantization, or convert it again with a current llama.cpp",
            "x.gguf",
            gguf(HEADED, [Tensor(type=4)]),
        ),
        ("get the file again from its source: it was cut off", "x.safetensors", safetensors()[:-1]),
        ("get the file again from its source", "x.safetensors", safetensors() + b"\0"),
        ("get the file again from its source: its header is damaged", "x.safetensors", safetensors([])),
        (
            "get the model in another type",
            "x.safetensors",
            safetensors({"w": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}),
        ),
        (
            "install git-lfs, and run `git lfs pull` in the repository that it lies in",
            "x",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 7\n" % (b"0" * 64),
        ),
        (
            "get the file again, and look in a browser whether its address asks for a login or shows a page about it",
            "x",
            b"<!doctype html>\n<title>Log in</title>",
        ),
    ],
)  # fmt: skip
def test_a_file_is_brought_again(local, sentence, name, data):
    local.write(name, data)
    local.models(f"models: {{t: {{model_ref: {name}}}}}")
    advised(local.provision(code=1), sentence)
    local.write(name, GOOD[name])
    local.provision()


def test_a_file_of_another_format_is_given_the_suffix_of_what_it_is(local):
    local.write("x.gguf", safetensors())
    local.models("models: {t: {model_ref: x.gguf}}")
    advised(local.provision(code=1), "get the model again, or give the file the suffix of what it is")
    (local.root / "x.gguf").rename(local.root / "x.safetensors")
    local.models("models: {t: {model_ref: x.safetensors}}")
    local.provision()


def test_a_file_of_the_other_byte_order_is_converted(local):
    tool = shutil.which("gguf-convert-endian", path=os.path.dirname(sys.executable))

    def convert(order):
        subprocess.run([tool, "models/tiny.gguf", order], cwd=local.root, input=b"YES", check=True, capture_output=True)

    convert("big")
    advised(local.provision(code=1), "convert it: `gguf-convert-endian FILE little`, of the Python package gguf")
    convert("little")
    local.provision()


# ---- files of another kind than their field


def adapter(architecture="llama", kind="lora"):
    keys = {
        "general.architecture": text(architecture),
        "general.type": text("adapter"),
        "adapter.type": text(kind),
    }
    return gguf(
        keys,
        [
            Tensor(name="blk.0.attn_q.weight.lora_a", shape=(64, 2), size=512),
            Tensor(name="blk.0.attn_q.weight.lora_b", shape=(2, 64), offset=512, size=512),
        ],
    )


IMATRIX = gguf({**HEADED, "general.type": text("imatrix")}, [])


@pytest.mark.parametrize(
    ("sentence", "fields", "mended"),
    [
        (
            "name it under mmproj: of the model that it was made for",
            "model_ref: models/see.gguf",
            "model_ref: models/tiny.gguf, mmproj: models/see.gguf",
        ),
        (
            "name it under lora: of the model that it was made for",
            "model_ref: lora.gguf",
            "model_ref: models/tiny.gguf, lora: lora.gguf",
        ),
        (
            "name it as the model_ref of an entry",
            "model_ref: models/tiny.gguf, lora: other.gguf",
            "model_ref: other.gguf",
        ),
        (
            "it serves to quantize a model; no engine loads it",
            "model_ref: imatrix.gguf",
            "model_ref: models/tiny.gguf",
        ),
        ("name a LoRA", "model_ref: models/tiny.gguf, lora: odd.gguf", "model_ref: models/tiny.gguf, lora: lora.gguf"),
        (
            "get the adapter that was made for this model",
            "model_ref: models/tiny.gguf, lora: qwen.gguf",
            "model_ref: models/tiny.gguf, lora: lora.gguf",
        ),
        (
            "get the projector that was made for this model",
            "model_ref: models/tiny.gguf, mmproj: wide.gguf",
            "model_ref: models/tiny.gguf, mmproj: models/see.gguf",
        ),
        (
            "convert it: convert_lora_to_gguf.py of llama.cpp",
            "model_ref: models/tiny.gguf, lora: peft",
            "model_ref: models/tiny.gguf, lora: lora.gguf",
        ),
        (
            "remove it: a folder of safetensors has its projector inside, and its engine takes no other",
            "model_ref: m, engine: vllm, mmproj: models/see.gguf",
            "model_ref: m, engine: vllm",
        ),
        (
            "name the folder of the adapter as it was trained: adapter_config.json and adapter_model.safetensors",
            "model_ref: m, engine: vllm, lora: lora.gguf",
            "model_ref: m, engine: vllm, lora: peft",
        ),
        ("name the one to load: {}{}", "model_ref: two", "model_ref: two/a-Q4_K_M.gguf"),
        (
            "name the one to load: {}{}; a projector goes under mmproj:",
            "model_ref: three",
            "model_ref: three/a-Q4_K_M.gguf, mmproj: three/mmproj-a.gguf",
        ),
    ],
)  # fmt: skip
def test_what_is_advised_names_a_file_of_the_right_kind(local, tmp_path, sentence, fields, mended):
    wide = gguf(
        {"general.architecture": text("clip"), "general.type": text("mmproj"), "clip.vision.projection_dim": u32(999)},
        [],
    )
    config = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'
    for name, data in {
        "lora.gguf": adapter(),
        "qwen.gguf": adapter("qwen2"),
        "odd.gguf": adapter(kind="control_vector"),
        "wide.gguf": wide,
        "other.gguf": TINY_BYTES + bytes(32),
        "imatrix.gguf": IMATRIX,
        "m/config.json": config,
        "m/model.safetensors": safetensors(),
        "peft/adapter_config.json": b'{"peft_type": "LORA"}',
        "peft/adapter_model.safetensors": safetensors(
            {"layers.0.q_proj.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        ),
        "two/a-Q4_K_M.gguf": TINY_BYTES,
        "two/b.gguf": TINY_BYTES,
        "three/a-Q4_K_M.gguf": TINY_BYTES,
        "three/b.gguf": TINY_BYTES,
        "three/mmproj-a.gguf": PROJECTOR,
    }.items():
        local.write(name, data)
    local.models(f"models: {{t: {{{fields}}}}}")
    advised(local.provision(code=1), sentence)
    local.models(f"models: {{t: {{{mended}}}}}")
    local.provision()


# ---- splits and folders


def split(tiny_models, local, folder="s"):
    for path in sorted(tiny_models.glob("*-of-*.gguf")):
        local.write(f"{folder}/{path.name}", path.read_bytes())
    names = sorted(path.name for path in (local.root / folder).iterdir())
    local.models(f"models: {{t: {{model_ref: {folder}/{names[0]}}}}}")
    return names


def test_the_shards_of_a_split_are_made_whole_as_it_is_advised(local, tiny_models):
    names = split(tiny_models, local)
    folder = local.root / "s"
    good = {name: (folder / name).read_bytes() for name in names}
    local.models(f"models: {{t: {{model_ref: s/{names[1]}}}}}")
    (first,) = advised(local.provision(code=1), "name {}")
    local.models(f"models: {{t: {{model_ref: {first}}}}}")
    (folder / names[1]).rename(folder / f"{names[1]}.bak")
    advised(local.provision(code=1), "rename it back if it is that shard, else get the shard again")
    (folder / f"{names[1]}.bak").unlink()
    advised(local.provision(code=1), "get the shard again")
    (folder / names[1]).write_bytes(good[names[2]])
    advised(local.provision(code=1), "get the shard again from where the others came from, and keep its name")
    (folder / names[1]).write_bytes(good[names[1]])
    local.provision()


def test_shards_that_lack_tensors_are_got_again_together(local):
    def shard(number, tensors, said=2):
        keys = {
            **HEADED,
            "split.no": scalar(U16, number),
            "split.count": scalar(U16, 2),
            "split.tensors.count": scalar(I32, said),
        }
        return gguf(keys, tensors)

    names = [f"s/x-{number}-of-00002.gguf" for number in ("00001", "00002")]
    local.models(f"models: {{t: {{model_ref: {names[0]}}}}}")
    local.write(names[0], shard(0, [Tensor(name="a")]))
    local.write(names[1], shard(1, []))
    advised(local.provision(code=1), "get all shards again from one source")
    local.write(names[1], shard(1, [Tensor(name="b")]))
    local.provision()


TWO = ["m/model-00001-of-00002.safetensors", "m/model-00002-of-00002.safetensors"]


@pytest.fixture
def folder(local):
    for name, tensor in zip(TWO, "ab", strict=True):
        local.write(name, safetensors({tensor: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}))
    local.models("models: {t: {model_ref: m, engine: vllm}}")
    return local


def test_a_folder_is_made_whole_as_it_is_advised(folder):
    shard = (folder.root / TWO[1]).read_bytes()
    (folder.root / TWO[1]).unlink()
    advised(folder.provision(code=1), "get the shard again from where the others came from")
    folder.write(TWO[1], shard)
    spare = folder.write("m/model-00001-of-00003.safetensors", shard)
    advised(folder.provision(code=1), "move it out of the folder; or get the whole model again from one version")
    spare.rename(folder.root / "spare")
    large = folder.write("m/config.json", b"[" + b" " * (64 << 20))
    advised(folder.provision(code=1), "get the file again from its source; or leave it out of the folder")
    large.unlink()
    folder.provision()


def test_a_folder_without_weights_is_not_the_one_that_is_meant(folder):
    folder.write("n/config.json", b"{}")
    folder.models("models: {t: {model_ref: n, engine: vllm}}")
    advised(
        folder.provision(code=1),
        "name the folder that holds the weights; where they were left out of a download, get them",
    )
    folder.models("models: {t: {model_ref: m, engine: vllm}}")
    folder.provision()
    folder.models("models: {t: {model_ref: n, engine: vllm}}")
    folder.write("n/model.safetensors", safetensors())
    folder.provision()
