"""A folder is a whole: all shards are there, none is left over, and there are weights in it."""

import json

import pytest

from model_provisioner.errors import UnsoundModelError
from model_provisioner.fs.fileset import discover
from model_provisioner.headers.reader import read_metadata
from model_provisioner.headers.whole import is_beside


def tensors(path, names=("w",)):
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * at, 4 * at + 4]} for at, name in enumerate(names)}
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * len(names)))


def index(path, *shards):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"metadata": {}, "weight_map": {f"t{number}": name for number, name in enumerate(shards)}})
    )


def folder(tmp_path, names, indexes=()):
    for name in names:
        if name.endswith(".safetensors"):
            tensors(tmp_path / name, [name])
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"{}")
    for name, shards in dict(indexes).items():
        index(tmp_path / name, *shards)
    return read_metadata(discover(str(tmp_path)))


TWO = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("names", "indexes"),
    [
        (["model.safetensors"], {}),
        (TWO, {}),
        (TWO, {INDEX: TWO}),
        (["model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"], {}),
        (["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"], {}),
        ([*TWO, "consolidated.safetensors", "original/consolidated.00.pth"], {INDEX: TWO}),
        ([*TWO, "model.fp16.safetensors"], {INDEX: TWO}),
        ([*TWO, *(f"model.fp16-0000{n}-of-00003.safetensors" for n in (1, 2, 3))], {INDEX: TWO}),
        ([f"unet/{name}" for name in TWO], {f"unet/{INDEX}": TWO}),
        (["a.safetensors", "b.safetensors"], {INDEX: ["a.safetensors", "b.safetensors"]}),
        ([f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)], {}),
        (["model.safetensors"], {"pytorch_model.bin.index.json": ["pytorch_model-00001-of-00002.bin"]}),
        (["weights.unknown"], {}),
        (["model.safetensors", "events-00001-of-00003.json"], {}),
    ],
)
def test_a_whole_folder_is_taken(tmp_path, names, indexes):
    folder(tmp_path, names, indexes)


@pytest.mark.parametrize(
    ("names", "indexes", "what", "expected"),
    [
        (
            TWO[:1],
            {INDEX: TWO},
            "a shard of the model is missing: model-00002-of-00002.safetensors",
            "the shards that model.safetensors.index.json names",
        ),
        (
            ["a.safetensors"],
            {INDEX: ["a.safetensors", "../b.safetensors"]},
            "a shard of the model is missing: ../b.safetensors",
            "the shards that model.safetensors.index.json names",
        ),
        (
            ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"],
            {},
            "a shard of the model is missing: model-00003-of-00003.safetensors",
            "3 shards, model-00001-of-00003.safetensors to model-00003-of-00003.safetensors",
        ),
        (
            ["pytorch_model-00002-of-00002.bin"],
            {},
            "a shard of the model is missing: pytorch_model-00001-of-00002.bin",
            "2 shards, pytorch_model-00001-of-00002.bin to pytorch_model-00002-of-00002.bin",
        ),
        (
            ["q/m-00001-of-00002.gguf"],
            {},
            "a shard of the model is missing: q/m-00002-of-00002.gguf",
            "2 shards, q/m-00001-of-00002.gguf to q/m-00002-of-00002.gguf",
        ),
        (
            [*TWO, "model-00003-of-00003.safetensors"],
            {INDEX: TWO},
            "a shard is left over: model-00003-of-00003.safetensors",
            "the shards that model.safetensors.index.json names",
        ),
        (
            [*TWO, "model-00001-of-00003.safetensors"],
            {},
            "a shard is left over: model-00001-of-00003.safetensors",
            "the 2 shards of model-…-of-00002.safetensors",
        ),
        (
            [*TWO, "model-00003-of-00002.safetensors"],
            {},
            "a shard is left over: model-00003-of-00002.safetensors",
            "the 2 shards of model-…-of-00002.safetensors",
        ),
    ],
)
def test_a_shard_that_is_missing_or_left_over_is_named(tmp_path, names, indexes, what, expected):
    with pytest.raises(UnsoundModelError) as caught:
        folder(tmp_path, names, indexes)
    assert (caught.value.what, caught.value.expected, caught.value.where) == (what, expected, str(tmp_path))


def test_a_folder_without_weights_is_none(tmp_path):
    with pytest.raises(UnsoundModelError) as caught:
        folder(tmp_path, ["config.json", "tokenizer.model", "LICENSE", ".gitattributes", "README.md", "sub/merges.txt"])
    assert caught.value.what == "the folder holds no weights"
    assert caught.value.found == ".gitattributes, LICENSE, README.md, config.json, sub/merges.txt and 1 more"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {"t": 5}}', '{"weight_map": ["a"]}'])
def test_an_index_that_is_none_is_unsound(tmp_path, text):
    tensors(tmp_path / "model.safetensors")
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(UnsoundModelError, match="JSON in it|weight_map"):
        read_metadata(discover(str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("config.json", True),
        ("tokenizer.model", True),
        ("spiece.model", True),
        ("vectors.model", False),
        ("LICENSE-MIT", True),
        ("vocab", True),
        (".gitattributes", True),
        ("model.onnx", False),
        ("pytorch_model.bin", False),
        ("weights", False),
    ],
)
def test_what_lies_beside_weights_is_told_by_its_name(name, beside):
    assert is_beside(name) is beside
